/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/sock_create: no multipath TCP. An MPTCP socket connects its subflows inside the kernel without calling the
 * connect hooks, so it would reach a datastore past the agent. The answer is that of a kernel built without it, which
 * programs take as a reason to fall back to TCP.
 */
#pragma once

#include "counters.h"

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_MPTCP)
		return 1;
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_set_retval)) /* 5.18, else EPERM */
		bpf_set_retval(-EPROTONOSUPPORT);
	count(REJECTED_MPTCP);
	return 0;
}
