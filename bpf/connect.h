/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * cgroup/connect4, cgroup/connect6: note who asks and for what, then send the connection to the agent.
 *
 * The kernel calls these from connect(), from sendmsg(MSG_FASTOPEN), from io_uring and, with the subflow, for a
 * multipath TCP socket; each time with the socket locked and before a source port is chosen. They run for the cgroup
 * the socket was created in; the caller may live elsewhere.
 */
#pragma once

#include "counters.h"
#include "maps.h"

#define ALLOW 1
#define REJECT 0

/*
 * The agent can't have this connection. Where nothing is enforced it goes on as if there were none: to observe is never
 * to block. Elsewhere it ends here: EPERM, or the error that was set before.
 */
static __always_inline int without_agent(const struct target *target, enum counter why)
{
	if (target->observed) {
		count(PASSED_OBSERVED);
		return ALLOW;
	}
	count(why);
	return REJECT;
}

static __always_inline int is_exempt(__u64 cgroup_id)
{
	return bpf_map_lookup_elem(&exempt, &cgroup_id) != NULL;
}

/* Where connect(0.0.0.0) leads: the address the socket is bound to, else loopback (net/ipv4/route.c). */
static __always_inline __u32 resolve_any4(void *sk)
{
	__u32 bound = socket_source4(sk);

	return bound ? bound : LOOPBACK4;
}

/* Pid namespaces within one another that are looked through; the kernel has no more than 32 (MAX_PID_NS_LEVEL). */
#define PID_LEVELS 32

/* The pid namespace in which the agent reads /proc, by the inode of its file. Set before the hooks are loaded. */
const volatile __u32 pid_namespace SEC(".rodata.agent");

/*
 * A process has a number in its own pid namespace and in each above it. The one under which the agent finds it, who may
 * itself live in a container; 0 for a process that isn't to be seen from there.
 */
static __always_inline __u32 pid_for_agent(const struct task_struct *leader)
{
	const struct pid *pid = leader->thread_pid;
	const char *numbers = (const char *)__builtin_preserve_access_index(&pid->numbers[0]);
	__u32 inum;
	struct upid number;

	for (int level = 0; level < PID_LEVELS && level <= pid->level; level++) {
		if (bpf_core_read(&number, sizeof(number), numbers + level * sizeof(number)))
			break;
		if (!bpf_core_read(&inum, sizeof(inum), &number.ns->ns.inum) && inum == pid_namespace)
			return number.nr;
	}
	return 0;
}

static __always_inline void describe(struct origin *origin, struct bpf_sock_addr *ctx, const struct target_key *wanted,
				     const struct target *target)
{
	const struct task_struct *leader = bpf_get_current_task_btf()->group_leader;
	__u64 ids = bpf_get_current_uid_gid();

	origin->start_ns = leader->start_boottime;
	origin->exec_id = leader->self_exec_id;
	origin->cgroup_id = bpf_get_current_cgroup_id();
	origin->socket_cgroup_id = socket_cgroup_id(ctx->sk);
	origin->netns_cookie = bpf_get_netns_cookie(ctx);
	origin->pid = pid_for_agent(leader);
	origin->uid = (__u32)ids;
	origin->gid = ids >> 32;
	origin->datastore = target->datastore;
	bpf_get_current_comm(origin->comm, sizeof(origin->comm));
	origin->destination = wanted->address;
	origin->port = wanted->port;
}

/*
 * While the agent is away anyone may bind its port and would be sent other people's connections, passwords included.
 * So a connection goes only to a listener made in the agent's cgroup. Returns REDIRECTED when there is one, else why not.
 */
static __always_inline enum counter find_agent(struct bpf_sock_addr *ctx, const struct address *listener, __u16 port)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	__u64 owner;

	if (is_mapped(listener)) {
		tuple.ipv4.saddr = tuple.ipv4.daddr = listener->word[3];
		tuple.ipv4.dport = bpf_htons(port);
		found = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, listener, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, listener, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.dport = bpf_htons(port);
		found = bpf_sk_lookup_tcp(ctx, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!found)
		return REJECTED_ABSENT;
	owner = socket_cgroup_id(found);
	bpf_sk_release(found);
	return is_exempt(owner) ? REDIRECTED : REJECTED_IMPOSTOR;
}

/*
 * Returns ALLOW or REJECT. `wanted` is the canonical destination. On a redirect `*listener` and `*port` are where to,
 * otherwise `*port` is 0.
 */
static __always_inline int redirect(struct bpf_sock_addr *ctx, const struct target_key *wanted,
				    struct address *listener, __u16 *port)
{
	struct target *target;
	struct client *client;
	enum counter found;

	*port = 0;
	/* A socket may connect again after a failure or AF_UNSPEC, by then in other hands: it starts with a clean sheet. */
	bpf_sk_storage_delete(&clients, ctx->sk);
	if (is_exempt(bpf_get_current_cgroup_id())) {
		count(EXEMPT);
		return ALLOW;
	}
	target = bpf_map_lookup_elem(&targets, wanted);
	if (!target)
		return ALLOW;
	/* Its SYN would leave by that device for 127.0.0.1 and be waited for. To unbind it is not ours to do. */
	if (ctx->sk->bound_dev_if > LOOPBACK_IFINDEX)
		return without_agent(target, REJECTED_DEVICE);
	*listener = is_mapped(&wanted->address) ? address_of4(LOOPBACK4) : loopback6();
	found = find_agent(ctx, listener, target->listener_port);
	if (found != REDIRECTED) {
		/* No listener at all is what it looks like without Lockgate: connection refused. */
		if (found == REJECTED_ABSENT && !target->observed &&
		    bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_set_retval)) /* 5.18 */
			bpf_set_retval(-ECONNREFUSED);
		return without_agent(target, found);
	}
	client = bpf_sk_storage_get(&clients, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!client)
		return without_agent(target, REJECTED_STORAGE);
	describe(&client->origin, ctx, wanted, target);
	*port = target->listener_port;
	count(REDIRECTED);
	return ALLOW;
}

static __always_inline int is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM && ctx->protocol == IPPROTO_TCP;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct target_key wanted = { .prefix_bits = 32 + 128 };
	struct address listener;
	__u16 port;

	if (!is_tcp(ctx) || !ctx->sk)
		return ALLOW;
	wanted.port = ctx->user_port;
	wanted.address = address_of4(ctx->user_ip4);
	if (!wanted.address.word[3])
		wanted.address.word[3] = resolve_any4(ctx->sk);
	if (redirect(ctx, &wanted, &listener, &port) == REJECT)
		return REJECT;
	if (port) {
		ctx->user_ip4 = listener.word[3];
		ctx->user_port = bpf_htons(port);
	}
	return ALLOW;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct target_key wanted = { .prefix_bits = 32 + 128 };
	struct address listener, bound;
	__u16 port;

	if (!is_tcp(ctx) || !ctx->sk)
		return ALLOW;
	wanted.port = ctx->user_port;
	wanted.address.word[0] = ctx->user_ip6[0];
	wanted.address.word[1] = ctx->user_ip6[1];
	wanted.address.word[2] = ctx->user_ip6[2];
	wanted.address.word[3] = ctx->user_ip6[3];
	if (is_unspecified(&wanted.address)) { /* tcp_v6_connect(): loopback, of the family the socket is bound to */
		bound.word[0] = ctx->sk->src_ip6[0];
		bound.word[1] = ctx->sk->src_ip6[1];
		bound.word[2] = ctx->sk->src_ip6[2];
		bound.word[3] = ctx->sk->src_ip6[3];
		wanted.address = is_mapped(&bound) ? address_of4(LOOPBACK4) : loopback6();
	} else if (is_mapped(&wanted.address) && !wanted.address.word[3]) {
		wanted.address.word[3] = resolve_any4(ctx->sk);
	}
	if (redirect(ctx, &wanted, &listener, &port) == REJECT)
		return REJECT;
	if (port) {
		ctx->user_ip6[0] = listener.word[0];
		ctx->user_ip6[1] = listener.word[1];
		ctx->user_ip6[2] = listener.word[2];
		ctx->user_ip6[3] = listener.word[3];
		ctx->user_port = bpf_htons(port);
	}
	return ALLOW;
}
