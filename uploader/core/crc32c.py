"""CRC32C as algebra: from the CRCs of a whole and of its end follows that of its beginning.

CRC32C is linear over polynomials of bits. With A and B one after the other, CRC(AB) is CRC(A) times
x^8, once for each byte of B, plus CRC(B); all modulo the polynomial of CRC32C. x has an inverse
there, so the equation can be solved for CRC(A), and squaring makes the power cheap: 32 steps for
each bit of the length, whatever it is.
"""

from __future__ import annotations

#: The polynomial without its highest term. As in the CRC itself, the highest bit is x^0.
_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31
#: The inverse of x^8: one byte back.
_BYTE_BACK_BITS = 8


def crc_before(whole: int, tail: int, tail_bytes: int) -> int:
    """CRC(A), from ``whole`` = CRC(AB), ``tail`` = CRC(B) and the length of B in bytes."""
    return _times(whole ^ tail, _power(_INVERSE, _BYTE_BACK_BITS * tail_bytes))


def _times(first: int, second: int) -> int:
    """The product of two polynomials."""
    product = 0
    for _ in range(32):
        if first & _ONE:
            product ^= second
        first = first << 1 & 0xFFFFFFFF
        second = second >> 1 ^ (_POLYNOMIAL if second & 1 else 0)
    return product


def _power(base: int, exponent: int) -> int:
    power = _ONE
    while exponent:
        if exponent & 1:
            power = _times(power, base)
        base = _times(base, base)
        exponent >>= 1
    return power


#: The polynomial is x times something, plus one: that something is the inverse of x.
_INVERSE = _POLYNOMIAL << 1 & 0xFFFFFFFF | 1
