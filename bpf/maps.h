/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* What the hooks and the agent share. Every layout here is mirrored by agent/lockgate/kernel/layout.py. */
#pragma once

#include "address.h"

#define TARGETS_MAX 8192    /* declared addresses and ranges, host names resolved; twice the bound, as new are added before old go */
#define EXEMPT_MAX 16	    /* cgroups of the agent and its workers */
#define PUBLISHED_MAX 16384 /* handshakes in flight at one time */

/* Longest prefix match over {port, address}. The port is always compared whole, so prefix_bits is 32 + address bits. */
struct target_key {
	__u32 prefix_bits;
	__u16 port; /* network order */
	__u16 zero;
	struct address address;
};

struct target {
	__u32 datastore;
	__u16 listener_port; /* host order */
	__u8 observed;	     /* nothing is enforced: what the agent can't take goes straight to the datastore */
	__u8 zero;
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, TARGETS_MAX);
	__type(key, struct target_key);
	__type(value, struct target);
} targets SEC(".maps");

/* Cgroup ids: theirs is the only traffic let through to a datastore, and theirs the only listeners redirected to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EXEMPT_MAX);
	__type(key, __u64);
	__type(value, __u8);
} exempt SEC(".maps");

struct origin {
	__u64 start_ns;
	__u64 exec_id;
	__u64 cgroup_id;
	__u64 socket_cgroup_id;
	__u64 netns_cookie;
	__u32 pid;
	__u32 uid;
	__u32 gid;
	__u32 datastore;
	char comm[16];
	struct address destination;
	__u16 port; /* network order */
	__u16 zero[3];
};

/* A connection, named alike by both of its ends. Ports in host order. */
struct flow {
	__u64 netns_cookie;
	struct address client;
	struct address server;
	__u16 client_port;
	__u16 server_port;
	__u32 zero;
};

/* On the socket that called connect(). */
struct client {
	struct origin origin;
	struct flow flow;
	__u64 is_published;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} clients SEC(".maps");

/*
 * Between connect() and accept(). Never an LRU: an entry evicted early is an origin lost to a connection that was
 * promised one. Full means that new connections have no origin and are refused.
 */
struct published {
	struct origin origin;
	__u64 socket_cookie; /* of the client: only it withdraws */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, PUBLISHED_MAX);
	__type(key, struct flow);
	__type(value, struct published);
} published SEC(".maps");

/* On the socket that accept() returns. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct origin);
} accepted SEC(".maps");
