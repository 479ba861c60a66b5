-- Bodies that attract each other, binary trees, a game of life, words counted, queens.
local function bodies(steps)
  local all = {}
  for n = 1, 5 do
    all[n] = { x = n * 1.5, y = n % 3, z = -n, vx = 0.1 * n, vy = 0.2, vz = -0.05 * n, mass = 1 / n }
  end
  for _ = 1, steps do
    for i = 1, #all do
      local a = all[i]
      for j = i + 1, #all do
        local b = all[j]
        local dx, dy, dz = a.x - b.x, a.y - b.y, a.z - b.z
        local square = dx * dx + dy * dy + dz * dz
        local force = 0.001 / (square * math.sqrt(square))
        a.vx, a.vy, a.vz = a.vx - dx * b.mass * force, a.vy - dy * b.mass * force, a.vz - dz * b.mass * force
        b.vx, b.vy, b.vz = b.vx + dx * a.mass * force, b.vy + dy * a.mass * force, b.vz + dz * a.mass * force
      end
    end
    for _, b in ipairs(all) do
      b.x, b.y, b.z = b.x + 0.001 * b.vx, b.y + 0.001 * b.vy, b.z + 0.001 * b.vz
    end
  end
  return string.format("%.9f %.9f %.9f", all[1].x, all[3].y, all[5].z)
end

local function tree(depth)
  if depth == 0 then return {} end
  return { tree(depth - 1), tree(depth - 1) }
end

local function count(node)
  if not node[1] then return 1 end
  return 1 + count(node[1]) + count(node[2])
end

local function life(size, turns)
  local now = {}
  for y = 0, size - 1 do
    now[y] = {}
    for x = 0, size - 1 do now[y][x] = (x * x + 3 * y * x + y) % 5 < 2 and 1 or 0 end
  end
  for _ = 1, turns do
    local later = {}
    for y = 0, size - 1 do
      local row, above, below = now[y], now[(y - 1) % size], now[(y + 1) % size]
      later[y] = {}
      for x = 0, size - 1 do
        local l, r = (x - 1) % size, (x + 1) % size
        local around = above[l] + above[x] + above[r] + row[l] + row[r] + below[l] + below[x] + below[r]
        later[y][x] = (around == 3 or (around == 2 and row[x] == 1)) and 1 or 0
      end
    end
    now = later
  end
  local alive = 0
  for y = 0, size - 1 do for x = 0, size - 1 do alive = alive + now[y][x] end end
  return alive
end

local function queens(size)
  local columns, up, down, found = {}, {}, {}, 0
  local function place(row)
    if row > size then found = found + 1 return end
    for c = 1, size do
      if not (columns[c] or up[row + c] or down[row - c]) then
        columns[c], up[row + c], down[row - c] = true, true, true
        place(row + 1)
        columns[c], up[row + c], down[row - c] = nil, nil, nil
      end
    end
  end
  place(1)
  return found
end

local function words(lines)
  local counts, parts = {}, {}
  for n = 1, lines do
    parts[n] = string.format("word%d other%d %s", n % 97, n % 31, ("ab"):rep(n % 7))
  end
  local text = table.concat(parts, "\n")
  for word in text:gmatch("%a+%d*") do counts[word] = (counts[word] or 0) + 1 end
  local order = {}
  for word, number in pairs(counts) do order[#order + 1] = { word, number } end
  table.sort(order, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
  return order[1][1], order[1][2], #order, #text:gsub("(%w+) (%w+)", "%2 %1")
end

print(bodies(9000))
print(count(tree(14)), count(tree(13)))
print(life(64, 50))
print(queens(8))
print(words(16000))
