"""Objects, dictionaries, strings, big numbers, sorting, a syntax tree, and a small interpreter."""

import ast
import re
from collections import Counter, defaultdict


class Account:
    def __init__(self, name, balance):
        self.name, self.balance, self.history = name, balance, []

    def move(self, other, amount):
        if amount > self.balance:
            raise ValueError(self.name)
        self.balance -= amount
        other.balance += amount
        self.history.append((other.name, amount))


def numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) & 0x7FFFFFFF
        yield seed >> 8


def bank(turns):
    draw = numbers(42)
    accounts = [Account(f"account{n}", 1000) for n in range(50)]
    refused = 0
    for _ in range(turns):
        source, target = accounts[next(draw) % 50], accounts[next(draw) % 50]
        try:
            source.move(target, next(draw) % 300)
        except ValueError:
            refused += 1
    richest = max(accounts, key=lambda account: account.balance)
    return refused, richest.name, richest.balance, sum(len(a.history) for a in accounts)


def evaluate(code):
    stack, at = [], 0
    while at < len(code):
        name, argument = code[at]
        at += 1
        if name == "push":
            stack.append(argument)
        elif name == "add":
            stack.append(stack.pop() + stack.pop())
        elif name == "dup":
            stack.append(stack[-1])
        elif name == "less":
            stack.append(stack[-1] < argument)
        elif name == "jump" and stack.pop():
            at = argument
    return stack.pop()


def words(count):
    draw = numbers(7)
    text = " ".join("abcdefgh"[next(draw) % 8] * (1 + next(draw) % 4) + str(next(draw) % 30) for _ in range(count))
    counts = Counter(re.findall(r"[a-h]+\d*", text))
    groups = defaultdict(list)
    for word, number in counts.items():
        groups[len(word)].append((number, word))
    best = {size: max(group) for size, group in sorted(groups.items())}
    return best, len(ast.literal_eval(repr(dict(counts)))), len(re.sub(r"(\d+) (\w)", r"\2-\1", text))


def primes(limit):
    sieve = bytearray([1]) * limit
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(sieve) - 2


print(bank(20000))
print(evaluate([("push", 0), ("push", 3), ("add", None), ("less", 60000), ("jump", 1)]))
print(*words(10000), sep="\n")
print(primes(300000), sum(i * i % 7 for i in range(60000)))
print(len(str(3**9000)), hash((1, 2, 3)) == hash((1, 2, 3)), sorted(f"{n * 7919 % 1009:04d}" for n in range(8000))[::1000])
