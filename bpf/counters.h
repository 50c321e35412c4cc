/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* One counter for everything that can fail and for every way a connect can go. Mirrored by layout.py: COUNTERS. */
#pragma once

#include "kernel_types.h"

enum counter {
	REDIRECTED,
	EXEMPT,
	/* rejected connects */
	REJECTED_STORAGE,  /* no memory for the origin */
	REJECTED_DEVICE,   /* the socket is bound to a network device: it can't reach loopback */
	REJECTED_ABSENT,   /* nobody listens: the agent is gone */
	REJECTED_IMPOSTOR, /* someone else listens on the agent's port */
	/* the origin's way to the accepted socket; each failure ends in "no origin" */
	PUBLISHED,
	PUBLISH_FAILED,	 /* the map is full */
	CALLBACK_FAILED, /* the kernel would not tell when the socket closes */
	WITHDRAWN,	 /* closed before it was accepted */
	ADOPTED,
	ADOPT_FAILED, /* no memory for the origin */
	PASSED_OBSERVED, /* nothing is enforced there, and the agent could not take it */
	COUNTERS,
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

static __always_inline void count(enum counter which)
{
	__u32 key = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &key);

	if (value)
		*value += 1; /* this CPU's own */
}
