"""Classes, generators, big numbers, floats, text and bytes, sorting, exceptions, files."""

import sys


class Matrix:
    def __init__(self, rows):
        self.rows = rows

    def __matmul__(self, other):
        columns = list(zip(*other.rows))
        return Matrix([[sum(a * b for a, b in zip(r, c)) for c in columns] for r in self.rows])


def power(base, n):
    result = Matrix([[1, 0], [0, 1]])
    while n:
        if n & 1:
            result = result @ base
        base, n = base @ base, n >> 1
    return result


def primes():
    found = []
    n = 2
    while True:
        if all(n % p for p in found if p * p <= n):
            found.append(n)
            yield n
        n += 1


print(power(Matrix([[1, 1], [1, 0]]), 300).rows[0][1])
source = primes()
print(sum(next(source) for _ in range(200)))
words = {}
with open("poem", encoding="ascii") as poem:
    for line in poem:
        for word in "".join(c if c.isalpha() else " " for c in line.lower()).split():
            words[word] = words.get(word, 0) + 1
print(sorted(words.items(), key=lambda item: (-item[1], item[0]))[:5])
print(1 / 3, 1e22, 2**0.5, float("inf") - float("inf"), round(2.675, 2), 7 // -2, divmod(-7, 3))
print(
    f"{3.14159:08.3f} {255:#x} {10**30:,} {'text':^10}|", "äöü".encode("utf-8"), b"\x00\xff".hex()
)
try:
    print([1, 2][5])
except IndexError as error:
    print(type(error).__name__, error)
print(sys.version_info[:2], sys.byteorder, sys.maxsize)
