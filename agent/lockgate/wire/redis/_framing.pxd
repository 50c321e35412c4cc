# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""What both that encode commands share: those that were read, and those that pass because others did."""

cdef enum:
    HEADER = 23  # bytes that one has at most: its kind, twenty digits, CR LF


cdef inline char *header(char *out, char kind, Py_ssize_t number) noexcept:
    """`*3` or `$12`, and CR LF. Where the next byte goes."""
    cdef char digits[20]
    cdef int count = 0
    out[0] = kind
    out += 1
    if number == 0:
        digits[0] = c"0"
        count = 1
    while number:
        digits[count] = <char>(c"0" + number % 10)
        number //= 10
        count += 1
    while count:
        count -= 1
        out[0] = digits[count]
        out += 1
    out[0] = c"\r"
    out[1] = c"\n"
    return out + 2
