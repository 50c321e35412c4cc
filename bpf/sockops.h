/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/*
 * sockops: carry the origin from the client's socket to the accepted one.
 *
 * TCP_CONNECT_CB runs when the source port is known and the SYN not yet sent; PASSIVE_ESTABLISHED_CB before accept()
 * can return the socket, which accept() locks and which is locked here. What was published is taken once. If nobody
 * takes it, it is withdrawn when the client's socket closes: tcp_set_state() calls back before it gives up the port,
 * so nobody can come by the same four numbers and find an origin that isn't theirs.
 *
 * Runs in the intercepted cgroup for the client and in the agent's for the accepted socket. ctx->reply is left alone:
 * it belongs to whoever else answers the kernel's questions here.
 */
#pragma once

#include "counters.h"
#include "maps.h"

/*
 * The compiler may fold loads of two branches into one, from an address chosen before; the verifier wants a context
 * field to be read at a fixed offset. Nothing is folded across this.
 */
static __always_inline __u32 as_is(__u32 value)
{
	asm volatile("" : "+r"(value));
	return value;
}

/* ctx->remote_port is in network order in the upper half of the word; ctx->local_port is in host order. */
static __always_inline int flow_of(struct bpf_sock_ops *ctx, struct flow *flow, int is_client)
{
	struct address local, remote;
	__u16 local_port = ctx->local_port, remote_port = bpf_ntohl(ctx->remote_port);

	if (ctx->family == AF_INET6) { /* one that speaks IPv4 has both addresses in the mapped form */
		local.word[0] = as_is(ctx->local_ip6[0]);
		local.word[1] = as_is(ctx->local_ip6[1]);
		local.word[2] = as_is(ctx->local_ip6[2]);
		local.word[3] = as_is(ctx->local_ip6[3]);
		remote.word[0] = as_is(ctx->remote_ip6[0]);
		remote.word[1] = as_is(ctx->remote_ip6[1]);
		remote.word[2] = as_is(ctx->remote_ip6[2]);
		remote.word[3] = as_is(ctx->remote_ip6[3]);
	} else if (ctx->family == AF_INET) {
		local = address_of4(as_is(ctx->local_ip4));
		remote = address_of4(as_is(ctx->remote_ip4));
	} else {
		return 0;
	}
	__builtin_memset(flow, 0, sizeof(*flow));
	flow->netns_cookie = bpf_get_netns_cookie(ctx);
	flow->client = is_client ? local : remote;
	flow->server = is_client ? remote : local;
	flow->client_port = is_client ? local_port : remote_port;
	flow->server_port = is_client ? remote_port : local_port;
	return 1;
}

static __always_inline void publish(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct published entry = {};
	struct client *client;
	struct flow flow;

	if (!flow_of(ctx, &flow, 1))
		return;
	client = bpf_sk_storage_get(&clients, sk, NULL, 0);
	if (!client) {
		/* These four numbers now belong to a connection that was not redirected. */
		bpf_map_delete_elem(&published, &flow);
		return;
	}
	/* First be sure to hear of the close: an origin that could not be withdrawn must not be published. */
	if (bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG)) {
		count(CALLBACK_FAILED);
		return;
	}
	entry.origin = client->origin;
	entry.socket_cookie = bpf_get_socket_cookie(ctx);
	if (bpf_map_update_elem(&published, &flow, &entry, BPF_ANY)) {
		count(PUBLISH_FAILED);
		return;
	}
	client->flow = flow;
	client->is_published = 1;
	count(PUBLISHED);
}

static __always_inline void withdraw(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct client *client = bpf_sk_storage_get(&clients, sk, NULL, 0);
	struct published *entry;
	struct flow flow;

	if (!client || !client->is_published)
		return;
	client->is_published = 0;
	flow = client->flow;
	entry = bpf_map_lookup_elem(&published, &flow);
	if (entry && entry->socket_cookie == bpf_get_socket_cookie(ctx) && !bpf_map_delete_elem(&published, &flow))
		count(WITHDRAWN);
}

static __always_inline void adopt(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct published *entry;
	struct origin *origin;
	struct flow flow;

	if (!flow_of(ctx, &flow, 0))
		return;
	entry = bpf_map_lookup_elem(&published, &flow);
	if (!entry)
		return; /* not redirected */
	origin = bpf_sk_storage_get(&accepted, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (origin)
		*origin = entry->origin;
	count(origin ? ADOPTED : ADOPT_FAILED);
	bpf_map_delete_elem(&published, &flow);
}

SEC("sockops")
int carry(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	if (!sk)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		publish(ctx, sk);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == BPF_TCP_CLOSE)
			withdraw(ctx, sk);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		adopt(ctx, sk);
		break;
	}
	return 1;
}
