#!/usr/bin/env python3
"""Writes the generated part of the corpus: instructions at all their types, with results computed here.

The results come from Python's integers, fractions and floats, not from Cranelift, so that a mistake of the code
generator shows as much as one of regraft. `generate.py --check` compares the files with what would be written.

Not here: control flow, calls, memory and frames, which are written by hand (`control.clif` and others).
"""

import itertools
import math
import pathlib
import struct
import sys
from fractions import Fraction

FOLDER = pathlib.Path(__file__).parent
INTS = [8, 16, 32, 64, 128]
LANES = [(8, 16), (16, 8), (32, 4), (64, 2)]


# ---- Integers: values are unsigned, below 2**bits.

def mask(bits):
    return (1 << bits) - 1


def signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value, low, high):
    return max(low, min(high, value))


def saturate_signed(value, bits):
    return clamp(value, -(1 << (bits - 1)), (1 << (bits - 1)) - 1) & mask(bits)


def saturate_unsigned(value, bits):
    return clamp(value, 0, mask(bits))


def divide(a, b):
    """Towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def leading(value, bits):
    return bits - value.bit_length()


def reverse(value, bits):
    return int(format(value, f"0{bits}b")[::-1], 2)


def swap(value, bits):
    return int.from_bytes(value.to_bytes(bits // 8, "little"), "big")


def rotate(value, by, bits):
    by %= bits
    return (value << by | value >> (bits - by)) & mask(bits)


BINARY = {
    "iadd": lambda a, b, n: a + b,
    "isub": lambda a, b, n: a - b,
    "imul": lambda a, b, n: a * b,
    "band": lambda a, b, n: a & b,
    "bor": lambda a, b, n: a | b,
    "bxor": lambda a, b, n: a ^ b,
    "smin": lambda a, b, n: min(signed(a, n), signed(b, n)),
    "smax": lambda a, b, n: max(signed(a, n), signed(b, n)),
    "umin": lambda a, b, n: min(a, b),
    "umax": lambda a, b, n: max(a, b),
    "umulhi": lambda a, b, n: a * b >> n,
    "smulhi": lambda a, b, n: signed(a, n) * signed(b, n) >> n,
    "udiv": lambda a, b, n: a // b,
    "urem": lambda a, b, n: a % b,
    "sdiv": lambda a, b, n: divide(signed(a, n), signed(b, n)),
    "srem": lambda a, b, n: signed(a, n) - signed(b, n) * divide(signed(a, n), signed(b, n)),
}
# What the code generator for x86-64 or AArch64 does not know.
UNKNOWN_OF_I128 = {"udiv", "urem", "sdiv", "srem", "umulhi", "smulhi", "smin", "smax", "umin", "umax"}
SHIFTS = {
    "ishl": lambda a, by, n: a << by % n,
    "ushr": lambda a, by, n: a >> by % n,
    "sshr": lambda a, by, n: signed(a, n) >> by % n,
    "rotl": lambda a, by, n: rotate(a, by, n),
    "rotr": lambda a, by, n: rotate(a, n - by % n, n),
}
UNARY = {
    "bnot": lambda a, n: ~a,
    "ineg": lambda a, n: -a,
    "iabs": lambda a, n: abs(signed(a, n)),
    "popcnt": lambda a, n: a.bit_count(),
    "clz": lambda a, n: leading(a, n),
    "ctz": lambda a, n: (a & -a).bit_length() - 1 if a else n,
    "cls": lambda a, n: leading((a ^ mask(n) if a >> (n - 1) else a), n) - 1,
    "bitrev": lambda a, n: reverse(a, n),
    "bswap": lambda a, n: swap(a, n),
}
SATURATING = {
    "uadd_sat": lambda a, b, n: saturate_unsigned(a + b, n),
    "usub_sat": lambda a, b, n: saturate_unsigned(a - b, n),
    "sadd_sat": lambda a, b, n: saturate_signed(signed(a, n) + signed(b, n), n),
    "ssub_sat": lambda a, b, n: saturate_signed(signed(a, n) - signed(b, n), n),
    "avg_round": lambda a, b, n: (a + b + 1) // 2,
}
CONDITIONS = {
    "eq": lambda a, b, n: a == b,
    "ne": lambda a, b, n: a != b,
    "ult": lambda a, b, n: a < b,
    "ule": lambda a, b, n: a <= b,
    "ugt": lambda a, b, n: a > b,
    "uge": lambda a, b, n: a >= b,
    "slt": lambda a, b, n: signed(a, n) < signed(b, n),
    "sle": lambda a, b, n: signed(a, n) <= signed(b, n),
    "sgt": lambda a, b, n: signed(a, n) > signed(b, n),
    "sge": lambda a, b, n: signed(a, n) >= signed(b, n),
}


def interesting(bits):
    """Numbers at which mistakes show."""
    pattern = 0x0123_4567_89AB_CDEF_FEDC_BA98_7654_3210
    return [1, mask(bits), 1 << (bits - 1), (1 << (bits - 1)) - 1, pattern >> 128 - bits | 1, 0, 3]


def pairs(bits):
    values = interesting(bits)
    return [(values[i], values[(i * 3 + j) % len(values)]) for i in range(len(values)) for j in (0, 1)]


# ---- Text.

def literal(value, bits):
    if bits == 128:
        text = f"{value:032x}"
        return "0x" + "_".join(text[at:at + 8] for at in range(0, 32, 8))
    return str(signed(value & mask(bits), bits))


def vector(values, bits):
    return "[" + " ".join(literal(value, bits) for value in values) + "]"


class File:
    def __init__(self, name, about, targets="set enable_llvm_abi_extensions=true\ntarget x86_64\ntarget aarch64\n"):
        self.name, self.parts, self.names = name, [], set()
        self.head = f"; {about} Written by `generate.py`.\ntest run\n{targets}\n"

    def function(self, name, signature, body, cases):
        """`cases` are pairs of texts: the arguments, and the result."""
        assert name not in self.names, name
        self.names.add(name)
        runs = "".join(f"; run: %{name}({arguments}) == {result}\n" for arguments, result in cases)
        self.parts.append(f"function %{name}{signature} {{\n{body}}}\n{runs}")

    def text(self):
        return self.head + "\n" + "\n".join(self.parts)


def operation(file, op, types, result, text, cases):
    """A function of one instruction."""
    parameters = ", ".join(f"v{index}: {ty}" for index, ty in enumerate(types))
    arguments = ", ".join(types)
    body = f"block0({parameters}):\n    v9 = {text}\n    return v9\n"
    suffix = "_".join(dict.fromkeys(types + [result]))
    file.function(f"{op.replace(' ', '_')}_{suffix}", f"({arguments}) -> {result}", body, cases)


# ---- Files.

def bitselect(file, bits):
    ty = f"i{bits}"
    cases = [
        (f"{literal(c, bits)}, {literal(a, bits)}, {literal(b, bits)}",
         literal(c & a | ~c & b & mask(bits), bits))
        for (a, b), c in zip(pairs(bits), interesting(bits))
    ]
    operation(file, "bitselect", [ty, ty, ty], ty, "bitselect v0, v1, v2", cases)


def wide():
    file = File("wide", "Integers of 128 bits, where not every backend of Cranelift has the instruction.", "set enable_llvm_abi_extensions=true\ntarget x86_64\n")
    bitselect(file, 128)
    return file


def integers():
    file = File("integers", "Integer instructions at every width.")
    for bits in INTS:
        ty = f"i{bits}"
        for op, model in BINARY.items():
            if bits == 128 and op in UNKNOWN_OF_I128:
                continue
            cases = []
            for a, b in pairs(bits):
                if "div" in op or "rem" in op:
                    overflows = signed(a, bits) == -(1 << (bits - 1)) and signed(b, bits) == -1
                    if b == 0 or overflows and op == "sdiv":
                        continue
                result = model(a, b, bits) & mask(bits)
                cases.append((f"{literal(a, bits)}, {literal(b, bits)}", literal(result, bits)))
            operation(file, op, [ty, ty], ty, f"{op} v0, v1", cases)
        for op, model in UNARY.items():
            if op == "bswap" and bits == 8:
                continue
            cases = [(literal(a, bits), literal(model(a, bits) & mask(bits), bits)) for a in interesting(bits)]
            operation(file, op, [ty], ty, f"{op} v0", cases)
        for op, model in SHIFTS.items():
            for amount in dict.fromkeys((ty, "i32")):
                width = int(amount[1:])
                amounts = [0, 1, bits - 1, bits % (1 << (width - 1)), (bits + 3) % (1 << (width - 1))]
                cases = [
                    (f"{literal(a, bits)}, {literal(by, width)}", literal(model(a, by, bits) & mask(bits), bits))
                    for a, by in zip(interesting(bits), itertools.cycle(amounts))
                ]
                operation(file, op, [ty, amount], ty, f"{op} v0, v1", cases)
        for code, model in CONDITIONS.items():
            cases = [
                (f"{literal(a, bits)}, {literal(b, bits)}", str(int(model(a, b, bits)))) for a, b in pairs(bits)
            ]
            operation(file, f"icmp {code}", [ty, ty], "i8", f"icmp {code} v0, v1", cases)
        chosen = [(f"1, {literal(3, bits)}, {literal(5, bits)}", literal(3, bits))]
        chosen += [(f"0, {literal(3, bits)}, {literal(5, bits)}", literal(5, bits))]
        operation(file, "select", ["i8", ty, ty], ty, "select v0, v1, v2", chosen)
        if bits < 128:
            bitselect(file, bits)
        for to in INTS:
            cases = [(literal(a, bits), literal(mask(to) if a else 0, to)) for a in interesting(bits)]
            operation(file, "bmask", [ty], f"i{to}", f"bmask.i{to} v0", cases)
            if to > bits:
                cases = [(literal(a, bits), literal(a, to)) for a in interesting(bits)]
                operation(file, "uextend", [ty], f"i{to}", f"uextend.i{to} v0", cases)
                cases = [(literal(a, bits), literal(signed(a, bits) & mask(to), to)) for a in interesting(bits)]
                operation(file, "sextend", [ty], f"i{to}", f"sextend.i{to} v0", cases)
            if to < bits:
                cases = [(literal(a, bits), literal(a & mask(to), to)) for a in interesting(bits)]
                operation(file, "ireduce", [ty], f"i{to}", f"ireduce.i{to} v0", cases)
    cases = [
        (f"{literal(a, 64)}, {literal(b, 64)}", literal(a | b << 64, 128)) for a, b in pairs(64)
    ]
    operation(file, "iconcat", ["i64", "i64"], "i128", "iconcat v0, v1", cases)
    cases = [(literal(a, 128), literal((a & mask(64)) ^ (a >> 64), 64)) for a in interesting(128)]
    body = "block0(v0: i128):\n    v1, v2 = isplit v0\n    v3 = bxor v1, v2\n    return v3\n"
    file.function("isplit", "(i128) -> i64", body, cases)
    return file


def overflow():
    file = File("overflow", "Carries, borrows and overflows.")
    ops = {
        "uadd_overflow": lambda a, b, n: a + b, "usub_overflow": lambda a, b, n: a - b,
        "umul_overflow": lambda a, b, n: a * b,
        "sadd_overflow": lambda a, b, n: signed(a, n) + signed(b, n),
        "ssub_overflow": lambda a, b, n: signed(a, n) - signed(b, n),
        "smul_overflow": lambda a, b, n: signed(a, n) * signed(b, n),
    }
    for bits in INTS[:4]:
        ty = f"i{bits}"
        for op, model in ops.items():
            for number, part in enumerate(("value", "flag")):
                cases = []
                for a, b in pairs(bits):
                    exact = model(a, b, bits)
                    wrapped = exact & mask(bits)
                    flag = exact != (signed(wrapped, bits) if op[0] == "s" else wrapped)
                    result = literal(wrapped, bits) if part == "value" else str(int(flag))
                    cases.append((f"{literal(a, bits)}, {literal(b, bits)}", result))
                body = f"block0(v0: {ty}, v1: {ty}):\n    v2, v3 = {op} v0, v1\n    return v{2 + number}\n"
                result = ty if part == "value" else "i8"
                file.function(f"{op}_{part}_{ty}", f"({ty}, {ty}) -> {result}", body, cases)
    for bits in (32, 64):
        ty = f"i{bits}"
        cases = [
            (f"{literal(a, bits)}, {literal(b, bits)}", literal(a + b, bits))
            for a, b in pairs(bits) if a + b <= mask(bits)
        ]
        text = "uadd_overflow_trap v0, v1, user1"
        operation(file, "uadd_overflow_trap", [ty, ty], ty, text, cases)
    return file


def single(value):
    """Rounds to f32."""
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def real(value):
    if math.isnan(value):
        return "+NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    sign = "-" if math.copysign(1, value) < 0 else ""
    if value == 0:
        return f"{sign}0x0.0"
    digits, exponent = abs(value).hex()[2:].split("p")
    exponent = int(exponent)
    whole, digits = (digits.split(".") + ["0"])[:2]
    fraction = digits.rstrip("0") or "0"
    if whole == "0":
        # Subnormal: written with a leading one.
        scaled = math.frexp(abs(value))
        return sign + real(scaled[0] * 2)[0:].split("p")[0] + f"p{scaled[1] - 1}"
    return f"{sign}0x{whole}.{fraction}p{exponent}"


FLOATS = [0.0, -0.0, 1.0, -1.5, 3.25, 2.5, -2.5, 0.1, 1e10, -7.75, 16777216.0, math.inf, -math.inf, math.nan]


def arithmetic(op, a, b):
    if math.isnan(a) or math.isnan(b):
        return math.nan
    if op == "fadd":
        return a + b if not (math.isinf(a) and a == -b) else math.nan
    if op == "fsub":
        return a - b if not (math.isinf(a) and a == b) else math.nan
    if op == "fmul":
        bad = math.isinf(a) and b == 0 or math.isinf(b) and a == 0
        return math.nan if bad else a * b
    if op == "fdiv":
        if b == 0:
            return math.nan if a == 0 else math.copysign(math.inf, a) * math.copysign(1, b)
        return math.nan if math.isinf(a) and math.isinf(b) else a / b
    if op in ("fmin", "fmax"):
        if a == b:
            negative = math.copysign(1, a) < 0 or math.copysign(1, b) < 0
            both = math.copysign(1, a) < 0 and math.copysign(1, b) < 0
            return a if a != 0 else (-0.0 if (negative if op == "fmin" else both) else 0.0)
        return min(a, b) if op == "fmin" else max(a, b)
    return math.copysign(a, b)


def rounded(op, a):
    if math.isnan(a) or math.isinf(a) or a == 0:
        return a
    whole = {"ceil": math.ceil, "floor": math.floor, "trunc": math.trunc, "nearest": round}[op](a)
    return math.copysign(float(whole), a)


def root(a):
    return math.nan if math.isnan(a) or a < 0 else math.sqrt(a)


def unordered(a, b):
    return math.isnan(a) or math.isnan(b)


FLOAT_CONDITIONS = {
    "ord": lambda a, b: not unordered(a, b), "uno": unordered,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
    "one": lambda a, b: a < b or a > b, "ueq": lambda a, b: unordered(a, b) or a == b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "ult": lambda a, b: not a >= b, "ule": lambda a, b: not a > b,
    "ugt": lambda a, b: not a <= b, "uge": lambda a, b: not a < b,
}


def exactly(a, b, c, rounding):
    """`a * b + c` with one rounding, of finite numbers whose result is not zero."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    return rounding(exact)


def floats():
    file = File("floats", "Floating-point instructions; what is not a number is only asked for as such.")
    for ty, rounding, bits in (("f32", single, 32), ("f64", float, 64)):
        values = [rounding(value) for value in FLOATS]
        numbers = [value for value in values if not math.isnan(value)]
        couples = [(a, values[(i * 5 + j) % len(values)]) for i, a in enumerate(values) for j in (0, 1, 2)]
        for op in ("fadd", "fsub", "fmul", "fdiv", "fmin", "fmax"):
            cases, nans = [], []
            for a, b in couples:
                result = rounding(arithmetic(op, a, b))
                text = f"{real(a)}, {real(b)}"
                if math.isnan(result):
                    nans.append((text, "1"))
                else:
                    cases.append((text, real(result)))
            operation(file, op, [ty, ty], ty, f"{op} v0, v1", cases)
            body = f"block0(v0: {ty}, v1: {ty}):\n    v2 = {op} v0, v1\n    v3 = fcmp uno v2, v2\n    return v3\n"
            file.function(f"{op}_nan_{ty}", f"({ty}, {ty}) -> i8", body, nans)
        for op in ("ceil", "floor", "trunc", "nearest"):
            cases = [(real(a), real(rounded(op, a))) for a in numbers]
            operation(file, op, [ty], ty, f"{op} v0", cases)
        cases = [(real(a), real(rounding(root(a)))) for a in numbers if a >= 0]
        operation(file, "sqrt", [ty], ty, "sqrt v0", cases)
        cases = [(real(a), real(-a)) for a in numbers]
        operation(file, "fneg", [ty], ty, "fneg v0", cases)
        cases = [(real(a), real(abs(a))) for a in numbers]
        operation(file, "fabs", [ty], ty, "fabs v0", cases)
        cases = [(f"{real(a)}, {real(b)}", real(math.copysign(a, b))) for a, b in itertools.product(numbers[:5], numbers[:4])]
        operation(file, "fcopysign", [ty, ty], ty, "fcopysign v0, v1", cases)
        triples = [(1.5, 2.0, 0.25), (3.25, -1.5, 1.0), (16777217.0 if bits == 64 else 4097.0, 4097.0, -1.0), (0.1, 10.0, -1.0)]
        cases = []
        for triple in triples:
            a, b, c = (rounding(value) for value in triple)
            exact = Fraction(a) * Fraction(b) + Fraction(c)
            if bits == 32 and Fraction(float(exact)) != exact:
                continue  # Rounding twice could differ.
            result = rounding(float(exact))
            if result != 0:
                cases.append((", ".join(real(value) for value in (a, b, c)), real(result)))
        operation(file, "fma", [ty, ty, ty], ty, "fma v0, v1, v2", cases)
        for code, model in FLOAT_CONDITIONS.items():
            cases = [(f"{real(a)}, {real(b)}", str(int(model(a, b)))) for a, b in couples]
            operation(file, f"fcmp {code}", [ty, ty], "i8", f"fcmp {code} v0, v1", cases)
        for to in (32, 64):
            for op in ("fcvt_to_sint_sat", "fcvt_to_uint_sat", "fcvt_to_sint", "fcvt_to_uint"):
                is_signed = "sint" in op
                low, high = (-(1 << to - 1), (1 << to - 1) - 1) if is_signed else (0, mask(to))
                cases = []
                for a in values:
                    if math.isnan(a):
                        whole = 0
                    elif math.isinf(a):
                        whole = high + 1 if a > 0 else low - 1
                    else:
                        whole = math.trunc(a)
                    if not op.endswith("sat") and (not low <= whole <= high or math.isnan(a)):
                        continue
                    cases.append((real(a), literal(clamp(whole, low, high) & mask(to), to)))
                operation(file, op, [ty], f"i{to}", f"{op}.i{to} v0", cases)
            # Only what is exact in both types, or rounded once.
            whole = [0, 1, mask(to), 1 << (to - 1), (1 << 24) - 1, 12345]
            cases = [(literal(a, to), real(rounding(Fraction(a)) if bits == 64 else single_of(a))) for a in whole]
            operation(file, "fcvt_from_uint", [f"i{to}"], ty, f"fcvt_from_uint.{ty} v0", cases)
            cases = [
                (literal(a, to), real(float(signed(a, to)) if bits == 64 else single_of(signed(a, to)))) for a in whole
            ]
            operation(file, "fcvt_from_sint", [f"i{to}"], ty, f"fcvt_from_sint.{ty} v0", cases)
        form = {32: "<f", 64: "<d"}[bits]
        raw = lambda a: int.from_bytes(struct.pack(form, a), "little")
        cases = [(real(a), literal(raw(a), bits)) for a in numbers]
        operation(file, "bitcast", [ty], f"i{bits}", f"bitcast.i{bits} v0", cases)
        cases = [(literal(raw(a), bits), real(a)) for a in numbers]
        operation(file, "bitcast", [f"i{bits}"], ty, f"bitcast.{ty} v0", cases)
        chosen = [(f"1, {real(1.5)}, {real(-2.5)}", real(1.5)), (f"0, {real(1.5)}, {real(-2.5)}", real(-2.5))]
        operation(file, "select", ["i8", ty, ty], ty, "select v0, v1, v2", chosen)
        for number, value in enumerate(numbers):
            body = f"block0:\n    v0 = {ty}const {real(value)}\n    return v0\n"
            file.function(f"const{number}_{ty}", f"() -> {ty}", body, [("", real(value))])
    numbers = [single(value) for value in FLOATS if not math.isnan(value)]
    operation(file, "fpromote", ["f32"], "f64", "fpromote.f64 v0", [(real(a), real(a)) for a in numbers])
    cases = [(real(a), real(single(a))) for a in FLOATS if not math.isnan(a)]
    cases.append((real(1e300), "+Inf"))
    operation(file, "fdemote", ["f64"], "f32", "fdemote.f32 v0", cases)
    return file


def single_of(whole):
    """An integer as f32, rounded once, to even."""
    if whole == 0:
        return 0.0
    sign, size = (-1, -whole) if whole < 0 else (1, whole)
    shift = max(0, size.bit_length() - 24)
    kept, rest = size >> shift, size & mask(shift)
    half = 1 << shift - 1 if shift else 0
    if shift and (rest > half or rest == half and kept & 1):
        kept += 1
    return sign * math.ldexp(kept, shift)


def lanes_of(bits, count, seed):
    values = interesting(bits)
    return [values[(seed + lane * 3 + lane // len(values)) % len(values)] for lane in range(count)]


def vectors():
    file = File("vectors", "Integer vectors of 128 bits.", "target x86_64\ntarget x86_64 has_sse3 has_ssse3 has_sse41\ntarget x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx\ntarget aarch64\n")
    for bits, count in LANES:
        ty, lane = f"i{bits}x{count}", f"i{bits}"
        sets = [lanes_of(bits, count, seed) for seed in range(6)]
        couples = list(zip(sets, sets[2:] + sets[:2]))

        def lanewise(op, model, text=None, result=None, couples=couples, ty=ty, bits=bits):
            cases = [
                (f"{vector(a, bits)}, {vector(b, bits)}",
                 vector([model(x, y, bits) & mask(bits) for x, y in zip(a, b)], bits)) for a, b in couples
            ]
            operation(file, op, [ty, ty], result or ty, text or f"{op} v0, v1", cases)

        ops = ["iadd", "isub", "imul", "band", "bor", "bxor"]
        ops += ["smin", "smax", "umin", "umax"] if bits < 64 else []
        for op in ops:
            if (op, bits) != ("imul", 8):
                lanewise(op, BINARY[op])
        for op, model in SATURATING.items():
            if bits <= 16:
                lanewise(op, model)
        for code, model in CONDITIONS.items():
            lanewise(f"icmp {code}", lambda a, b, n, model=model: -int(model(a, b, n)), f"icmp {code} v0, v1")
        for op in ("bnot", "ineg", "iabs") + (("popcnt",) if bits == 8 else ()):
            cases = [(vector(a, bits), vector([UNARY[op](x, bits) & mask(bits) for x in a], bits)) for a in sets]
            operation(file, op, [ty], ty, f"{op} v0", cases)
        for op in ("ishl", "ushr", "sshr"):
            cases = [
                (f"{vector(a, bits)}, {by}", vector([SHIFTS[op](x, by, bits) & mask(bits) for x in a], bits))
                for a, by in zip(sets, (0, 1, bits - 1, 3, bits, bits + 2))
            ]
            operation(file, op, [ty, "i32"], ty, f"{op} v0, v1", cases)
        cases = [(literal(a, bits), vector([a] * count, bits)) for a in interesting(bits)]
        operation(file, "splat", [lane], ty, f"splat.{ty} v0", cases)
        cases = [(literal(a, bits), vector([a] + [0] * (count - 1), bits)) for a in interesting(bits)]
        if bits >= 32:
            operation(file, "scalar_to_vector", [lane], ty, f"scalar_to_vector.{ty} v0", cases)
        for at in (0, count - 1):
            cases = [(vector(a, bits), literal(a[at], bits)) for a in sets]
            operation(file, f"extractlane{at}", [ty], lane, f"extractlane v0, {at}", cases)
            cases = [
                (f"{vector(a, bits)}, {literal(7, bits)}", vector(a[:at] + [7] + a[at + 1:], bits)) for a in sets
            ]
            operation(file, f"insertlane{at}", [ty, lane], ty, f"insertlane v0, v1, {at}", cases)
        sets_and = sets + [[0] * count, [1] * count]
        operation(file, "vany_true", [ty], "i8", "vany_true v0", [(vector(a, bits), str(int(any(a)))) for a in sets_and])
        operation(file, "vall_true", [ty], "i8", "vall_true v0", [(vector(a, bits), str(int(all(a)))) for a in sets_and])
        cases = [(vector(a, bits), literal(sum((x >> bits - 1) << i for i, x in enumerate(a)), 32)) for a in sets]
        operation(file, "vhigh_bits", [ty], "i32", "vhigh_bits.i32 v0", cases)
        cases = [
            (f"{vector(c, bits)}, {vector(a, bits)}, {vector(b, bits)}",
             vector([z & x | ~z & y & mask(bits) for x, y, z in zip(a, b, c)], bits))
            for (a, b), c in zip(couples, sets[1:] + sets[:1])
        ]
        operation(file, "bitselect", [ty, ty, ty], ty, "bitselect v0, v1, v2", cases)
        for number, a in enumerate(sets[:2]):
            body = f"block0:\n    v0 = vconst.{ty} {vector(a, bits)}\n    return v0\n"
            file.function(f"vconst{number}_{ty}", f"() -> {ty}", body, [("", vector(a, bits))])
        if bits > 8:
            half = bits // 2
            narrow = f"i{half}x{count * 2}"
            for op, model in (
                ("snarrow", lambda x, n, h: saturate_signed(signed(x, n), h)),
                ("unarrow", lambda x, n, h: saturate_unsigned(signed(x, n), h)),
            ):
                if bits == 64:
                    continue
                cases = [
                    (f"{vector(a, bits)}, {vector(b, bits)}", vector([model(x, bits, half) for x in a + b], half))
                    for a, b in couples
                ]
                operation(file, op, [ty, ty], narrow, f"{op} v0, v1", cases)
            wide = ty
            for op, extend, part in (
                ("swiden_low", signed, 0), ("swiden_high", signed, 1),
                ("uwiden_low", lambda x, n: x, 0), ("uwiden_high", lambda x, n: x, 1),
            ):
                cases = []
                for seed in range(4):
                    a = lanes_of(half, count * 2, seed)
                    kept = a[part * count:(part + 1) * count]
                    cases.append((vector(a, half), vector([extend(x, half) & mask(bits) for x in kept], bits)))
                operation(file, op, [narrow], wide, f"{op} v0", cases)
        if bits in (16, 32):
            cases = [
                (f"{vector(a, bits)}, {vector(b, bits)}",
                 vector([(x + y) & mask(bits) for x, y in zip((a + b)[::2], (a + b)[1::2])], bits))
                for a, b in couples
            ]
            operation(file, "iadd_pairwise", [ty, ty], ty, "iadd_pairwise v0, v1", cases)
        if bits == 16:
            model = lambda x, y: saturate_signed((signed(x, 16) * signed(y, 16) + 0x4000) >> 15, 16)
            cases = [
                (f"{vector(a, bits)}, {vector(b, bits)}", vector([model(x, y) for x, y in zip(a, b)], bits))
                for a, b in couples
            ]
            operation(file, "sqmul_round_sat", [ty, ty], ty, "sqmul_round_sat v0, v1", cases)
        if bits == 8:
            order = [0, 17, 2, 19, 31, 16, 15, 1, 8, 24, 9, 25, 10, 26, 11, 27]
            cases = [
                (f"{vector(a, bits)}, {vector(b, bits)}", vector([(a + b)[at] for at in order], bits))
                for a, b in couples
            ]
            text = f"shuffle v0, v1, {vector(order, 8)}".replace("[", "0x").split("0x")[0]
            text += "0x" + "".join(f"{at:02x}" for at in reversed(order))
            operation(file, "shuffle", [ty, ty], ty, text, cases)
            picks = [[0, 15, 1, 14, 2, 13, 16, 255, 3, 12, 4, 11, 128, 10, 5, 9], list(range(15, -1, -1))]
            cases = [
                (f"{vector(a, 8)}, {vector(pick, 8)}", vector([a[at] if at < 16 else 0 for at in pick], 8))
                for a, pick in zip(sets, picks)
            ]
            operation(file, "swizzle", [ty, ty], ty, "swizzle v0, v1", cases)
    return file


def float_vectors():
    file = File("float-vectors", "Vectors of floating-point numbers.", "target x86_64\ntarget x86_64 has_sse3 has_ssse3 has_sse41\ntarget x86_64 has_sse3 has_ssse3 has_sse41 has_sse42 has_avx\ntarget aarch64\n")
    numbers = [value for value in FLOATS if not math.isnan(value) and not math.isinf(value)]
    for ty, lane, rounding, count, bits in (("f32x4", "f32", single, 4, 32), ("f64x2", "f64", float, 2, 64)):
        values = [rounding(value) for value in numbers]
        sets = [[values[(seed + at) % len(values)] for at in range(count)] for seed in range(len(values))]
        write = lambda a: "[" + " ".join(real(value) for value in a) + "]"
        couples = list(zip(sets, sets[4:] + sets[:4]))
        for op in ("fadd", "fsub", "fmul", "fdiv", "fmin", "fmax"):
            cases = []
            for a, b in couples:
                result = [rounding(arithmetic(op, x, y)) for x, y in zip(a, b)]
                if not any(math.isnan(value) for value in result):
                    cases.append((f"{write(a)}, {write(b)}", write(result)))
            operation(file, op, [ty, ty], ty, f"{op} v0, v1", cases)
        for op in ("ceil", "floor", "trunc", "nearest", "fneg", "fabs", "sqrt"):
            model = {"fneg": lambda a: -a, "fabs": abs, "sqrt": lambda a: rounding(root(a))}
            model = model.get(op) or (lambda a, op=op: rounded(op, a))
            cases = [(write(a), write([model(x) for x in a])) for a in sets if op != "sqrt" or min(a) >= 0]
            operation(file, op, [ty], ty, f"{op} v0", cases)
        whole = f"i{bits}x{count}"
        for code in ("eq", "ne", "lt", "le", "gt", "ge", "ord", "uno"):
            model = FLOAT_CONDITIONS[code]
            cases = [
                (f"{write(a)}, {write(b)}", vector([-int(model(x, y)) & mask(bits) for x, y in zip(a, b)], bits))
                for a, b in couples
            ]
            operation(file, f"fcmp {code}", [ty, ty], whole, f"fcmp {code} v0, v1", cases)
        operation(file, "splat", [lane], ty, f"splat.{ty} v0", [(real(a), write([a] * count)) for a in values])
        operation(file, "extractlane", [ty], lane, f"extractlane v0, {count - 1}", [(write(a), real(a[-1])) for a in sets])
        cases = [(f"{write(a)}, {real(9.0)}", write(a[:-1] + [9.0])) for a in sets]
        operation(file, "insertlane", [ty, lane], ty, f"insertlane v0, v1, {count - 1}", cases)
    # Lanes of integers to lanes of numbers, and back.
    fours = [lanes_of(32, 4, seed) for seed in range(4)]
    write = lambda a: "[" + " ".join(real(value) for value in a) + "]"
    cases = [(vector(a, 32), write([single_of(signed(x, 32)) for x in a])) for a in fours]
    operation(file, "fcvt_from_sint", ["i32x4"], "f32x4", "fcvt_from_sint.f32x4 v0", cases)
    cases = [(vector(a, 32), write([single_of(x) for x in a])) for a in fours]
    operation(file, "fcvt_from_uint", ["i32x4"], "f32x4", "fcvt_from_uint.f32x4 v0", cases)
    values = [single(value) for value in FLOATS]
    sets = [[values[(seed + at) % len(values)] for at in range(4)] for seed in range(len(values))]
    for op, low, high in (("fcvt_to_sint_sat", -(1 << 31), (1 << 31) - 1), ("fcvt_to_uint_sat", 0, mask(32))):
        def convert(x, low=low, high=high):
            if math.isnan(x):
                return 0
            if math.isinf(x):
                return high if x > 0 else low
            return clamp(math.trunc(x), low, high)
        cases = [(write(a), vector([convert(x) & mask(32) for x in a], 32)) for a in sets]
        operation(file, op, ["f32x4"], "i32x4", f"{op}.i32x4 v0", cases)
    cases = [(write([1.5, -2.0, 3.0, 4.0]), write([1.5, -2.0]))]
    operation(file, "fvpromote_low", ["f32x4"], "f64x2", "fvpromote_low v0", cases)
    cases = [(write([1.5, -2.0]), write([1.5, -2.0, 0.0, 0.0])), (write([0.1, 1e300]), write([single(0.1), math.inf, 0.0, 0.0]))]
    operation(file, "fvdemote", ["f64x2"], "f32x4", "fvdemote v0", cases)
    return file


def memory():
    file = File("memory", "Loads and stores of every width, atomic ones too.")
    slot = "    ss0 = explicit_slot 16\n    ss1 = explicit_slot 16\n"
    for bits in INTS:
        ty = f"i{bits}"
        body = (f"{slot}block0(v0: {ty}):\n    v1 = stack_addr.i64 ss0\n    store notrap aligned v0, v1\n"
                f"    v2 = load.{ty} notrap aligned v1\n    return v2\n")
        cases = [(literal(a, bits), literal(a, bits)) for a in interesting(bits)]
        file.function(f"store_load_{ty}", f"({ty}) -> {ty}", body, cases)
    for narrow, wide in ((8, 16), (8, 32), (8, 64), (16, 32), (16, 64), (32, 64)):
        for sign in "us":
            body = (f"{slot}block0(v0: i64):\n    v1 = stack_addr.i64 ss0\n    store notrap v0, v1\n"
                    f"    v2 = {sign}load{narrow}.i{wide} notrap v1+1\n    return v2\n".replace(
                        f"i{wide} notrap v1+1", "i64 notrap v1+1" if narrow == 32 else f"i{wide} notrap v1+1"))
            cases = []
            for a in interesting(64):
                read = a >> 8 & mask(narrow)
                read = signed(read, narrow) & mask(wide) if sign == "s" else read
                if narrow < 32 or wide == 64:
                    cases.append((literal(a, 64), literal(read, wide)))
            if narrow == 32:
                body = body.replace("load32.i64", "load32")
            file.function(f"{sign}load{narrow}_i{wide}", f"(i64) -> i{wide}", body, cases)
    for narrow, wide in ((8, 16), (8, 64), (16, 32), (32, 64)):
        ty = f"i{wide}"
        body = (f"{slot}block0(v0: {ty}):\n    v1 = stack_addr.i64 ss0\n    v2 = iconst.i64 -1\n    store notrap v2, v1\n"
                f"    istore{narrow} notrap v0, v1+2\n    v3 = load.i64 notrap v1\n    return v3\n")
        cases = []
        for a in interesting(wide):
            whole = mask(64) & ~(mask(narrow) << 16) | (a & mask(narrow)) << 16
            cases.append((literal(a, wide), literal(whole, 64)))
        file.function(f"istore{narrow}_{ty}", f"({ty}) -> i64", body, cases)
    atomics = {
        "add": lambda a, b, n: a + b, "sub": lambda a, b, n: a - b, "and": lambda a, b, n: a & b,
        "or": lambda a, b, n: a | b, "xor": lambda a, b, n: a ^ b, "nand": lambda a, b, n: ~(a & b),
        "xchg": lambda a, b, n: b, "umin": BINARY["umin"], "umax": BINARY["umax"],
        "smin": BINARY["smin"], "smax": BINARY["smax"],
    }
    for bits in INTS[:4]:
        ty = f"i{bits}"
        for op, model in atomics.items():
            body = (f"{slot}block0(v0: {ty}, v1: {ty}):\n    v2 = stack_addr.i64 ss0\n    store notrap aligned v0, v2\n"
                    f"    v3 = atomic_rmw.{ty} little {op} v2, v1\n    v4 = load.{ty} notrap aligned v2\n"
                    f"    v5 = bxor v3, v0\n    v6 = bor v4, v5\n    return v6\n")
            cases = [(f"{literal(a, bits)}, {literal(b, bits)}", literal(model(a, b, bits) & mask(bits), bits)) for a, b in pairs(bits)]
            file.function(f"atomic_{op}_{ty}", f"({ty}, {ty}) -> {ty}", body, cases)
        body = (f"{slot}block0(v0: {ty}, v1: {ty}, v2: {ty}):\n    v3 = stack_addr.i64 ss0\n    store notrap aligned v0, v3\n"
                f"    v4 = atomic_cas.{ty} little v3, v1, v2\n    v5 = atomic_load.{ty} little v3\n    return v5\n")
        cases = [
            (f"{literal(a, bits)}, {literal(b, bits)}, 7", literal(7 if a == b else a, bits)) for a, b in pairs(bits)
        ]
        file.function(f"atomic_cas_{ty}", f"({ty}, {ty}, {ty}) -> {ty}", body, cases)
        body = (f"{slot}block0(v0: {ty}):\n    v1 = stack_addr.i64 ss0\n    atomic_store little v0, v1\n    fence\n"
                f"    v2 = atomic_load.{ty} little v1\n    return v2\n")
        file.function(f"atomic_store_{ty}", f"({ty}) -> {ty}", body, [(literal(a, bits), literal(a, bits)) for a in interesting(bits)])
    return file


def main():
    stale = []
    for make in (integers, wide, overflow, floats, vectors, float_vectors, memory):
        file = make()
        path = FOLDER / f"{file.name}.clif"
        if "--check" in sys.argv:
            if not path.exists() or path.read_text() != file.text():
                stale.append(path.name)
        else:
            path.write_text(file.text())
    if stale:
        sys.exit(f"not what generate.py writes: {', '.join(stale)}")


if __name__ == "__main__":
    main()
