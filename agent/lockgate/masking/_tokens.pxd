# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""`tokens.py`, compiled. A function writes a token into `out` and answers its size, or NO_TOKEN."""

from libc.stdint cimport int16_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy, memset

from lockgate.masking._keyed cimport (
    MOST_PLACES, USE_LARGE, USE_NUMERIC, USE_SMALL, USE_TEXT, USE_UUID, blake2b_key, permute, permute_pair,
)
from lockgate.masking._partial cimport LONGEST_EMAIL, email_dot

cdef enum:
    NO_TOKEN = -1
    LONGEST_TOKEN = 256
    MOST_DIGITS = 64
    FIRST_LETTERS = 0xB0
    DECIMAL_BYTES = 340  # 65 groups of four, as many digits as there may be behind the point, sign and point


cdef inline bint token_digit(uint8_t c) noexcept nogil:
    return 0x30 <= c <= 0x39


cdef inline Py_ssize_t token_text(const blake2b_key *key, const uint8_t *p, Py_ssize_t size, uint8_t *out) noexcept nogil:
    cdef Py_ssize_t places[MOST_PLACES]
    cdef uint8_t bases[MOST_PLACES]
    cdef uint8_t sizes[MOST_PLACES]
    cdef uint8_t values[MOST_PLACES]
    cdef Py_ssize_t end, at = 0, count = 0, i, dot, follow
    cdef uint8_t byte
    cdef bint letter
    while size > 0 and p[size - 1] == 0x20:
        size -= 1
    if size > LONGEST_TOKEN:
        return NO_TOKEN
    end = size
    if size <= LONGEST_EMAIL:
        dot = email_dot(p, size)
        if dot > 0:
            end = dot
    while at < end:
        byte = p[at]
        follow = 0
        letter = True
        if byte < 0x80:
            if token_digit(byte):
                bases[count] = 0x30
                sizes[count] = 10
            elif 0x61 <= byte <= 0x7A:
                bases[count] = 0x61
                sizes[count] = 26
            elif 0x41 <= byte <= 0x5A:
                bases[count] = 0x41
                sizes[count] = 26
            else:
                at += 1
                continue
            places[count] = at
            count += 1
        elif 0xC3 <= byte <= 0xDF:
            follow = 1
        elif byte == 0xC2:
            follow = 1
            letter = False
        elif 0xE1 <= byte <= 0xEC:
            follow = 2
            letter = byte != 0xE2 or (at + 1 < end and p[at + 1] >= FIRST_LETTERS)
        else:
            return NO_TOKEN
        if follow >= end - at:
            return NO_TOKEN
        for i in range(at + 1, at + 1 + follow):
            if p[i] & 0xC0 != 0x80:
                return NO_TOKEN
            if letter:
                places[count] = i
                bases[count] = 0x80
                sizes[count] = 64
                count += 1
        at += 1 + follow
    for i in range(count):
        values[i] = p[places[i]] - bases[i]
    if not permute(key, USE_TEXT, values, sizes, count):
        return NO_TOKEN
    memcpy(out, p, size)
    for i in range(count):
        out[places[i]] = bases[i] + values[i]
    return size


cdef inline Py_ssize_t write_decimal(uint64_t value, bint negative, uint8_t *out) noexcept nogil:
    cdef uint8_t digits[20]
    cdef Py_ssize_t count = 0, i, at = 0
    while True:
        digits[count] = <uint8_t>(0x30 + value % 10)
        count += 1
        value //= 10
        if value == 0:
            break
    if negative:
        out[0] = 0x2D
        at = 1
    for i in range(count):
        out[at + i] = digits[count - 1 - i]
    return at + count


cdef inline Py_ssize_t token_integer(
    const blake2b_key *key, const uint8_t *p, Py_ssize_t size, bint binary, int width, uint8_t *out
) noexcept nogil:
    cdef uint64_t magnitude = 0, first, second
    cdef uint64_t small = <uint64_t>1 << 31, large_low = (<uint64_t>1 << 32) - 1
    cdef bint negative = False, minus
    cdef Py_ssize_t i
    if width != 4 and width != 8:
        return NO_TOKEN
    if binary:
        if size != width:
            return NO_TOKEN
        for i in range(size):
            magnitude = magnitude << 8 | p[i]
        if p[0] & 0x80:
            negative = True
            magnitude = ~magnitude  # -1 - number
            if width == 4:
                magnitude &= (<uint64_t>1 << 32) - 1
    else:
        minus = size > 0 and p[0] == 0x2D
        if not 1 <= size - minus <= 19:
            return NO_TOKEN
        for i in range(minus, size):
            if not token_digit(p[i]):
                return NO_TOKEN
            magnitude = magnitude * 10 + (p[i] - 0x30)
        negative = minus and magnitude > 0
        if negative:
            magnitude -= 1
    if magnitude < small:
        first, second = magnitude >> 16, magnitude & 0xFFFF
        permute_pair(key, USE_SMALL, &first, &second, <uint64_t>1 << 15, <uint64_t>1 << 16)
        magnitude = first << 16 | second
    elif width == 8 and magnitude < <uint64_t>1 << 63:
        magnitude -= small
        first, second = magnitude // large_low, magnitude % large_low
        permute_pair(key, USE_LARGE, &first, &second, small, large_low)
        magnitude = first * large_low + second + small
    else:
        return NO_TOKEN
    if not binary:
        return write_decimal(magnitude + 1 if negative else magnitude, negative, out)
    if negative:
        magnitude = ~magnitude
    for i in range(size):
        out[i] = <uint8_t>(magnitude >> (8 * (size - 1 - i)))
    return size


cdef inline int hexadecimal(uint8_t c) noexcept nogil:
    if token_digit(c):
        return c - 0x30
    return c - 0x57 if 0x61 <= c <= 0x66 else -1


cdef inline Py_ssize_t token_uuid(
    const blake2b_key *key, const uint8_t *p, Py_ssize_t size, bint binary, uint8_t *out
) noexcept nogil:
    cdef uint64_t halves[2]
    cdef uint64_t first, second, low
    cdef uint64_t variable = (<uint64_t>1 << 62) - 1
    cdef const char *digits = "0123456789abcdef"
    cdef Py_ssize_t i
    cdef int digit, count = 0
    halves[0] = halves[1] = 0
    if binary:
        if size != 16:
            return NO_TOKEN
        for i in range(16):
            halves[i // 8] = halves[i // 8] << 8 | p[i]
    else:
        if size != 36:
            return NO_TOKEN
        for i in range(36):
            if i == 8 or i == 13 or i == 18 or i == 23:
                if p[i] != 0x2D:
                    return NO_TOKEN
                continue
            digit = hexadecimal(p[i])
            if digit < 0:
                return NO_TOKEN
            halves[count // 16] = halves[count // 16] << 4 | <uint64_t>digit
            count += 1
    first = (halves[0] >> 16) << 12 | (halves[0] & 0xFFF)
    second = halves[1] & variable
    low = halves[1] & ~variable
    permute_pair(key, USE_UUID, &first, &second, <uint64_t>1 << 60, <uint64_t>1 << 62)
    halves[0] = (first >> 12) << 16 | (halves[0] & 0xF000) | (first & 0xFFF)
    halves[1] = low | second
    if binary:
        for i in range(16):
            out[i] = <uint8_t>(halves[i // 8] >> (8 * (7 - i % 8)))
        return 16
    count = 0
    for i in range(36):
        if i == 8 or i == 13 or i == 18 or i == 23:
            out[i] = 0x2D
        else:
            out[i] = digits[(halves[count // 16] >> (4 * (15 - count % 16))) & 15]
            count += 1
    return 36


cdef inline int min_int(int a, int b) noexcept nogil:
    return a if a < b else b


cdef inline int word_at(const uint8_t *p, int count, int place) noexcept nogil:
    return (p[8 + 2 * place] << 8) | p[9 + 2 * place] if 0 <= place < count else 0


cdef inline Py_ssize_t read_decimal(const uint8_t *p, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """numeric_send's format as digits, with a sign and a point; NO_TOKEN. At most DECIMAL_BYTES."""
    cdef int count, weight, sign, scale, power, word, i, at = 0, left
    cdef bint begun = False
    cdef uint8_t four[4]
    if size < 8:
        return NO_TOKEN
    count = (p[0] << 8) | p[1]
    weight = <int16_t>((p[2] << 8) | p[3])
    sign = (p[4] << 8) | p[5]
    scale = (p[6] << 8) | p[7]
    if (sign != 0 and sign != 0x4000) or size != 8 + 2 * count:
        return NO_TOKEN
    if scale > MOST_DIGITS or not -MOST_DIGITS <= weight <= MOST_DIGITS:
        return NO_TOKEN
    for i in range(count):
        if word_at(p, count, i) >= 10000:
            return NO_TOKEN
    if sign:
        out[0] = 0x2D
        at = 1
    power = weight if weight > 0 else 0
    while power >= 0:
        word = word_at(p, count, weight - power)
        four[0] = <uint8_t>(word // 1000)
        four[1] = <uint8_t>(word // 100 % 10)
        four[2] = <uint8_t>(word // 10 % 10)
        four[3] = <uint8_t>(word % 10)
        for i in range(4):
            if four[i] or begun:
                begun = True
                out[at] = 0x30 + four[i]
                at += 1
        power -= 1
    if not begun:
        out[at] = 0x30
        at += 1
    if scale:
        out[at] = 0x2E
        at += 1
    left = scale
    power = -1
    while left > 0:
        word = word_at(p, count, weight - power)
        four[0] = <uint8_t>(word // 1000)
        four[1] = <uint8_t>(word // 100 % 10)
        four[2] = <uint8_t>(word // 10 % 10)
        four[3] = <uint8_t>(word % 10)
        for i in range(min_int(left, 4)):
            out[at] = 0x30 + four[i]
            at += 1
        left -= 4
        power -= 1
    return at


cdef inline Py_ssize_t write_numeric(bint negative, const uint8_t *digits, int count, int whole, uint8_t *out) noexcept nogil:
    """`count` digits, from 0 to 9 each, of which `whole` stand before the point, in numeric_send's format."""
    cdef int scale = count - whole, groups = (whole + 3) // 4, lead, total, i, j, word, weight, first, last
    cdef int words[MOST_DIGITS]
    lead = 4 * groups - whole
    total = groups + (scale + 3) // 4
    for i in range(total):
        word = 0
        for j in range(4 * i - lead, 4 * i - lead + 4):
            word = word * 10 + (digits[j] if 0 <= j < count else 0)
        words[i] = word
    first, last = 0, total
    weight = groups - 1
    while first < last and words[first] == 0:
        first += 1
        weight -= 1
    while last > first and words[last - 1] == 0:
        last -= 1
    if first == last:
        weight, negative = 0, False
    memset(out, 0, 8)
    out[1] = <uint8_t>(last - first)
    out[2] = <uint8_t>((weight >> 8) & 255)
    out[3] = <uint8_t>(weight & 255)
    out[4] = 0x40 if negative else 0
    out[7] = <uint8_t>scale
    for i in range(first, last):
        out[8 + 2 * (i - first)] = <uint8_t>(words[i] >> 8)
        out[9 + 2 * (i - first)] = <uint8_t>(words[i] & 255)
    return 8 + 2 * (last - first)


cdef inline Py_ssize_t token_numeric(
    const blake2b_key *key, const uint8_t *p, Py_ssize_t size, bint binary, uint8_t *out
) noexcept nogil:
    """At most 2 * MOST_DIGITS bytes."""
    cdef uint8_t decimal[DECIMAL_BYTES]
    cdef uint8_t values[MOST_DIGITS]
    cdef uint8_t sizes[MOST_DIGITS]
    cdef Py_ssize_t at = 0, count = 0, whole = -1, begin, i
    cdef uint8_t first
    cdef bint negative
    if binary:
        size = read_decimal(p, size, decimal)
        if size < 0:
            return NO_TOKEN
        p = decimal
    negative = size > 0 and p[0] == 0x2D
    begin = at = negative
    while at < size:
        if p[at] == 0x2E and whole < 0 and count > 0:
            whole = count
        elif not token_digit(p[at]) or count == MOST_DIGITS:
            return NO_TOKEN
        else:
            values[count] = p[at] - 0x30
            sizes[count] = 10
            count += 1
        at += 1
    if count == 0 or whole == count:
        return NO_TOKEN
    if whole < 0:
        whole = count
    first = whole > 1
    if first and values[0] == 0:
        return NO_TOKEN
    values[0] -= first
    sizes[0] -= first
    if not permute(key, USE_NUMERIC, values, sizes, count):
        return NO_TOKEN
    values[0] += first
    if binary:
        return write_numeric(negative, values, <int>count, <int>whole, out)
    out[0] = 0x2D
    at = begin
    for i in range(count):
        if i == whole:
            out[at] = 0x2E
            at += 1
        out[at] = 0x30 + values[i]
        at += 1
    return at
