/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One form for every address: 128 bits in network order, IPv4 as ::ffff:a.b.c.d. */
#pragma once

#include "kernel_types.h"

#define LOOPBACK4 bpf_htonl(0x7f000001)
#define MAPPED_PREFIX bpf_htonl(0x0000ffff)

struct address {
	__u32 word[4];
};

static __always_inline struct address address_of4(__u32 v4)
{
	struct address mapped = { .word = { 0, 0, MAPPED_PREFIX, v4 } };

	return mapped;
}

static __always_inline struct address loopback6(void)
{
	struct address loopback = { .word = { 0, 0, 0, bpf_htonl(1) } };

	return loopback;
}

static __always_inline int is_mapped(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == MAPPED_PREFIX;
}

static __always_inline int is_unspecified(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[2] && !address->word[3];
}
