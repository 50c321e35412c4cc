/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* cgroup/getpeername4, cgroup/getpeername6: an application sees the address it dialled, as its TLS checks and logs expect. */
#pragma once

#include "maps.h"

static __always_inline const struct origin *dialled(struct bpf_sock_addr *ctx)
{
	const struct client *client;

	if (!ctx->sk)
		return NULL;
	client = bpf_sk_storage_get(&clients, ctx->sk, NULL, 0);
	return client ? &client->origin : NULL;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	const struct origin *origin = dialled(ctx);

	if (origin) {
		ctx->user_ip4 = origin->destination.word[3];
		ctx->user_port = origin->port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	const struct origin *origin = dialled(ctx);

	if (origin) {
		ctx->user_ip6[0] = origin->destination.word[0];
		ctx->user_ip6[1] = origin->destination.word[1];
		ctx->user_ip6[2] = origin->destination.word[2];
		ctx->user_ip6[3] = origin->destination.word[3];
		ctx->user_port = origin->port;
	}
	return 1;
}
