/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * The few kernel fields that are read, relocated by libbpf against the running kernel's BTF (CO-RE).
 * Only names matter here: order, size and what lies between is the running kernel's business.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define IPPROTO_TCP 6
#define ECONNREFUSED 111
#define LOOPBACK_IFINDEX 1

#define RELOCATED __attribute__((preserve_access_index))

struct ns_common {
	__u32 inum;
} RELOCATED;

struct pid_namespace {
	struct ns_common ns;
} RELOCATED;

struct upid {
	int nr;
	struct pid_namespace *ns;
} RELOCATED;

struct pid {
	__u32 level;
	struct upid numbers[1];
} RELOCATED;

struct task_struct {
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_boottime;
	__u64 self_exec_id;
} RELOCATED;

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup {
	struct kernfs_node *kn;
} RELOCATED;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} RELOCATED;

struct sock {
	struct sock_cgroup_data sk_cgrp_data;
} RELOCATED;

struct inet_sock {
	__be32 inet_saddr;
} RELOCATED;

/* Both take a socket as the verifier hands it out and return 0 for one that isn't TCP. */
static __always_inline __u64 socket_cgroup_id(void *sk)
{
	const struct sock *socket = (const void *)bpf_skc_to_tcp_sock(sk);

	return socket ? socket->sk_cgrp_data.cgroup->kn->id : 0;
}

static __always_inline __u32 socket_source4(void *sk)
{
	const struct inet_sock *inet = (const void *)bpf_skc_to_tcp_sock(sk);

	return inet ? inet->inet_saddr : 0;
}
