cdef bint is_plain(bytes argument) noexcept
