/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Drives a packet program under BPF_PROG_RUN: writes the headers anew before every run (the program
 * under test has rewritten them), with another flow each time, and tail-calls it. Takes the time
 * itself, since the clock around BPF_PROG_RUN is coarse. Cost of the driver: the same with `null`.
 */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_HEADER 80

struct state {
	__u64 run;  /* counts up; set to 0 by user space */
	__u64 runs; /* the last run takes the end time */
	__u64 start_ns, end_ns;
	__u32 flows;
	__u32 frame_len;
	__u32 addr_off; /* where the flow's 32 varying address bits go */
	__u32 port_off; /* where its 16 varying port bits go */
	__u8 header[MAX_HEADER];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} driver_state SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} driver_target SEC(".maps");

SEC("xdp") int driver_null(struct xdp_md *ctx)
{
	(void)ctx;
	return XDP_TX;
}

SEC("xdp") int driver(struct xdp_md *ctx)
{
	struct state *s;
	__u8 *data, *end;
	__u32 key = 0, flow;
	long len;

	s = bpf_map_lookup_elem(&driver_state, &key);
	if (!s)
		return XDP_ABORTED;
	/* A tunnel's header of the run before is still there; for others this moves nothing. */
	len = (long)ctx->data_end - (long)ctx->data;
	/* Pointers are subtracted in 64 bits, or the verifier objects. */
	asm volatile("" : "+r"(len));
	if (bpf_xdp_adjust_head(ctx, (int)(len - s->frame_len)))
		return XDP_ABORTED;
	data = (__u8 *)(long)ctx->data;
	end = (__u8 *)(long)ctx->data_end;
	if (data + MAX_HEADER > end)
		return XDP_ABORTED;
	if (s->run == 0)
		s->start_ns = bpf_ktime_get_ns();
	if (++s->run == s->runs)
		s->end_ns = bpf_ktime_get_ns();

	/* An odd multiplier walks all flows in an order that no prefetcher guesses. */
	flow = (__u32)(s->run * 2654435761u) % s->flows;
	if (s->addr_off > MAX_HEADER - 4 || s->port_off > MAX_HEADER - 2)
		return XDP_ABORTED;
	*(__u32 *)(s->header + s->addr_off) = bpf_htonl(0x0a000001u + (flow >> 12));
	*(__u16 *)(s->header + s->port_off) = bpf_htons(1024 + (flow & 0xfff));
	for (int i = 0; i < MAX_HEADER; i += 8)
		*(__u64 *)(data + i) = *(__u64 *)(s->header + i);

	bpf_tail_call(ctx, &driver_target, 0);
	return XDP_ABORTED;
}

char _license[] SEC("license") = "GPL";
