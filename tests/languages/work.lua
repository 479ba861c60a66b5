-- A queue of primes, string work, closures, coroutines, and a table printed in order.
local function primes(limit)
  return coroutine.wrap(function()
    local composite = {}
    for n = 2, limit do
      if not composite[n] then
        coroutine.yield(n)
        for m = n * n, limit, n do composite[m] = true end
      end
    end
  end)
end

local sum, count = 0, 0
for p in primes(3000) do sum, count = sum + p, count + 1 end
print(count, sum, sum / count)

local words = {}
for line in io.lines("poem") do
  for word in line:lower():gmatch("%a+") do words[word] = (words[word] or 0) + 1 end
end
local order = {}
for word in pairs(words) do order[#order + 1] = word end
table.sort(order, function(a, b)
  if words[a] ~= words[b] then return words[a] > words[b] end
  return a < b
end)
for i = 1, 5 do io.write(order[i], "=", words[order[i]], " ") end
print()
print(string.format("%.12g %5.2f %q %x", math.pi ^ 10, -1 / 3, "a\nb", 3735928559))
print(pcall(error, { code = 42 }), select("#", table.unpack({ 1, 2, nil, 4 }, 1, 4)))
print(7 // 2, -7 // 2, 7 % -3, 2 ^ 0.5, 1e308 * 10, 0x7fffffffffffffff + 1, 3 | 8 ~ 1)
