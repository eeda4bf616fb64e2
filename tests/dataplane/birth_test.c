/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Handshakes as the data plane sees them, and pins that compete for a bucket. A case is a script of
 * packets of one flow and the counters of its backend afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "world.h"

static struct world world;

enum step {
	END,
	SYN,  /* client -> VIP */
	DATA, /* client -> VIP */
	CLIENT_RST,
	SYNACK,   /* backend -> client, seq 5000 */
	RST_NOW,  /* backend -> client, the byte after its SYN-ACK */
	RST_LATE, /* ... some bytes later */
	RST_ZERO, /* ... seq 0, as from a closed port */
	REPLY,
	REPLY_FIN,
	AGE,      /* the handshake becomes older than its timeout */
	MOVE,     /* backend 1 dies, the slot goes to 2 */
	BUSY,     /* another flow's open handshake sits in the cell */
	BUSY_OLD, /* the same, and it has gone unanswered for too long; of backend 3 */
};

struct script {
	const char *name;
	enum step steps[8];
	unsigned backend; /* whose counters; 0: 1 */
	uint8_t connections, retransmits, attempts, answered, refused, early, server, client;
	uint8_t unanswered, skipped;
	unsigned unanswered_of; /* backend */
	uint32_t state;         /* of the cell afterwards */
};

/* clang-format off */
static const struct script scripts[] = {
{ .name = "a SYN opens a handshake", .steps = { SYN }, .connections = 1, .attempts = 1, .state = ZD_BIRTH_SYN },
{ .name = "data opens none", .steps = { DATA, DATA } },
{ .name = "a SYN-ACK answers it", .steps = { SYN, SYNACK }, .connections = 1, .attempts = 1, .answered = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "a SYN-ACK sent again answers once", .steps = { SYN, SYNACK, SYNACK }, .connections = 1, .attempts = 1, .answered = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "a SYN-ACK out of nowhere answers nothing", .steps = { SYNACK } },
{ .name = "a SYN sent again is no new connection", .steps = { SYN, SYN, SYN }, .connections = 1, .retransmits = 2, .attempts = 1, .state = ZD_BIRTH_SYN },
{ .name = "a SYN sent again right after its answer is none either", .steps = { SYN, SYNACK, SYN }, .connections = 1, .retransmits = 1, .attempts = 1, .answered = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "a SYN sent again late is still the same handshake", .steps = { SYN, AGE, SYN }, .connections = 1, .retransmits = 1, .attempts = 1, .state = ZD_BIRTH_SYN },
{ .name = "ports used again later are a new connection", .steps = { SYN, SYNACK, AGE, SYN }, .connections = 2, .attempts = 2, .answered = 1, .state = ZD_BIRTH_SYN },
{ .name = "a RST answers a SYN: refused", .steps = { SYN, RST_ZERO }, .connections = 1, .attempts = 1, .refused = 1, .server = 1 },
{ .name = "a second RST refuses nothing more", .steps = { SYN, RST_ZERO, RST_ZERO }, .connections = 1, .attempts = 1, .refused = 1, .server = 2 },
{ .name = "refused and tried again", .steps = { SYN, RST_ZERO, SYN, SYNACK }, .connections = 2, .attempts = 2, .refused = 1, .answered = 1, .server = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "reset before the first byte", .steps = { SYN, SYNACK, DATA, RST_NOW }, .connections = 1, .attempts = 1, .answered = 1, .early = 1, .server = 1 },
{ .name = "reset after some bytes is not early", .steps = { SYN, SYNACK, DATA, REPLY, RST_LATE }, .connections = 1, .attempts = 1, .answered = 1, .server = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "an early reset counts once", .steps = { SYN, SYNACK, RST_NOW, RST_NOW }, .connections = 1, .attempts = 1, .answered = 1, .early = 1, .server = 2 },
{ .name = "a reset without a handshake is a reset", .steps = { DATA, RST_LATE }, .server = 1 },
{ .name = "replies and FINs leave the handshake alone", .steps = { SYN, REPLY, REPLY_FIN }, .connections = 1, .attempts = 1, .state = ZD_BIRTH_SYN },
{ .name = "the client's resets are its own", .steps = { SYN, SYNACK, CLIENT_RST }, .connections = 1, .attempts = 1, .answered = 1, .client = 1, .state = ZD_BIRTH_ANSWERED },
{ .name = "a SYN sent again to another backend is an attempt there", .steps = { SYN, MOVE, SYN }, .backend = 2, .connections = 1, .attempts = 1, .unanswered = 1, .unanswered_of = 1, .state = ZD_BIRTH_SYN },
{ .name = "the former backend's late answer is not the new one's", .steps = { SYN, MOVE, SYN, SYNACK }, .backend = 2, .connections = 1, .attempts = 1, .unanswered = 1, .unanswered_of = 1, .state = ZD_BIRTH_SYN },
{ .name = "an open handshake keeps its cell", .steps = { BUSY, SYN }, .connections = 1, .skipped = 1, .state = ZD_BIRTH_SYN },
{ .name = "an unobserved handshake ends unobserved", .steps = { BUSY, SYN, SYNACK, RST_NOW }, .connections = 1, .skipped = 1, .server = 1, .state = ZD_BIRTH_SYN },
{ .name = "an old open handshake gives way, unanswered", .steps = { BUSY_OLD, SYN }, .connections = 1, .attempts = 1, .unanswered = 1, .unanswered_of = 3, .state = ZD_BIRTH_SYN },
};
/* clang-format on */
#define NSCRIPTS (sizeof(scripts) / sizeof(scripts[0]))

struct run {
	const struct script *script;
	enum world_hook hook;
	bool v6;
};

static void send_request(const struct run *run, uint8_t flags)
{
	struct frame f = world_request(run->v6, flags);
	struct world_frame out = { .len = 0 };

	assert_int_equal(world_send(&world, run->hook, world.front, &f, &out), WORLD_REDIRECT);
}

static void send_reply(const struct run *run, uint8_t flags, uint32_t seq)
{
	struct frame f = world_reply(run->v6, flags, 1);
	struct world_frame out = { .len = 0 };

	f.seq = seq;
	assert_int_equal(world_send(&world, run->hook, world.back, &f, &out), WORLD_REDIRECT);
}

/* Somebody else's handshake in the very cell: our own, with its flow changed. */
static void occupy(const struct run *run, bool old)
{
	volatile struct zd_birth *cell;

	send_request(run, FRAME_SYN);
	cell = world_birth(&world);
	assert_non_null(cell);
	cell->flow ^= 1ULL << 60;
	cell->backend = 3;
	if (old)
		cell->born_ns -= ZD_BIRTH_TIMEOUT_NS;
}

static void take(const struct run *run, enum step step)
{
	switch (step) {
	case SYN:
		send_request(run, FRAME_SYN);
		break;
	case DATA:
		send_request(run, FRAME_ACK | FRAME_PSH);
		break;
	case CLIENT_RST:
		send_request(run, FRAME_RST);
		break;
	case SYNACK:
		send_reply(run, FRAME_SYN | FRAME_ACK, 5000);
		break;
	case RST_NOW:
		send_reply(run, FRAME_RST | FRAME_ACK, 5001);
		break;
	case RST_LATE:
		send_reply(run, FRAME_RST, 5100);
		break;
	case RST_ZERO:
		send_reply(run, FRAME_RST | FRAME_ACK, 0);
		break;
	case REPLY:
		send_reply(run, FRAME_ACK, 5001);
		break;
	case REPLY_FIN:
		send_reply(run, FRAME_FIN | FRAME_ACK, 5001);
		break;
	case AGE:
		world_birth(&world)->born_ns -= ZD_BIRTH_TIMEOUT_NS;
		break;
	case MOVE:
		world_backend(&world, 1, run->v6, ZD_BACKEND_RESOLVED);
		world_slots(&world, ZD_SLOT(2, 2, 0));
		break;
	case END:
	case BUSY:
	case BUSY_OLD:
		break;
	}
}

static uint64_t counted(unsigned backend, enum zd_backend_counter c, uint64_t base[][ZD_BC_MAX])
{
	return world_stat(&world, backend, c) - base[backend][c];
}

static void check(const struct script *s, uint64_t base[][ZD_BC_MAX])
{
	unsigned b = s->backend ? s->backend : 1;
	volatile struct zd_birth *cell = world_birth(&world);

	assert_int_equal(counted(b, ZD_BC_CONNECTIONS, base), s->connections);
	assert_int_equal(counted(b, ZD_BC_SYN_RETRANSMITS, base), s->retransmits);
	assert_int_equal(counted(b, ZD_BC_ATTEMPTS, base), s->attempts);
	assert_int_equal(counted(b, ZD_BC_ANSWERED, base), s->answered);
	assert_int_equal(counted(b, ZD_BC_REFUSED, base), s->refused);
	assert_int_equal(counted(b, ZD_BC_EARLY_RESETS, base), s->early);
	assert_int_equal(counted(b, ZD_BC_SERVER_RESETS, base), s->server);
	assert_int_equal(counted(b, ZD_BC_CLIENT_RESETS, base), s->client);
	assert_int_equal(world_event(&world, ZD_EV_BIRTH_SKIPPED), s->skipped);
	if (s->unanswered_of)
		assert_int_equal(counted(s->unanswered_of, ZD_BC_UNANSWERED, base), s->unanswered);
	assert_int_equal(cell ? cell->state : (uint32_t)ZD_BIRTH_FREE, s->state);
}

static void script_counts(void **state)
{
	const struct run *run = *state;
	const struct script *s = run->script;
	static uint64_t base[WORLD_BACKENDS][ZD_BC_MAX];

	world_reset(&world);
	for (unsigned i = 1; i <= 9; i++)
		world_backend(&world, i, run->v6, ZD_BACKEND_ALIVE | ZD_BACKEND_RESOLVED);
	if (s->steps[0] == BUSY || s->steps[0] == BUSY_OLD)
		occupy(run, s->steps[0] == BUSY_OLD);
	for (unsigned b = 0; b < WORLD_BACKENDS; b++)
		for (int c = 0; c < ZD_BC_MAX; c++)
			base[b][c] = world_stat(&world, b, (enum zd_backend_counter)c);
	for (int i = 0; i < 8 && s->steps[i] != END; i++)
		take(run, s->steps[i]);
	check(s, base);
}

/* Pins in a bucket: a world of one bucket, so that every flow meets every other. */
static struct world narrow;

static void syn(uint16_t port)
{
	struct frame f = world_request(false, FRAME_SYN);
	struct world_frame out = { .len = 0 };

	f.sport = port;
	assert_int_equal(world_send(&narrow, WORLD_XDP, narrow.front, &f, &out), WORLD_REDIRECT);
}

static void age(volatile uint64_t *word, uint32_t left)
{
	*word = (*word & ~255ULL) | ((world_tick() - 1 + left) % ZD_PIN_TICKS + 1);
}

static void fill(void)
{
	world_reset(&narrow);
	world_slots(&narrow, ZD_SLOT(2, 1, ZD_SLOT_MOVING));
	for (uint16_t i = 0; i < ZD_PINS_PER_BUCKET; i++)
		syn((uint16_t)(1000 + i));
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++)
		assert_int_not_equal(narrow.pins[0].word[i], 0);
	assert_int_equal(world_event(&narrow, ZD_EV_PIN_INSERTED), ZD_PINS_PER_BUCKET);
	assert_int_equal(world_event(&narrow, ZD_EV_PIN_EVICTED), 0);
}

static int changed_word(const uint64_t before[ZD_PINS_PER_BUCKET])
{
	int changed = -1;

	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++) {
		if (narrow.pins[0].word[i] == before[i])
			continue;
		assert_int_equal(changed, -1);
		changed = i;
	}
	return changed;
}

static void a_new_pin_takes(uint32_t victim, uint32_t left, bool evicts)
{
	uint64_t before[ZD_PINS_PER_BUCKET];

	fill();
	for (uint32_t i = 0; i < ZD_PINS_PER_BUCKET; i++)
		age((volatile uint64_t *)&narrow.pins[0].word[i], i == victim ? left : 20 + i);
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++)
		before[i] = narrow.pins[0].word[i];
	syn(2000);
	assert_int_equal(changed_word(before), victim);
	assert_int_equal(world_event(&narrow, ZD_EV_PIN_EVICTED), evicts);
}

static void the_pin_that_ends_first_makes_room_and_is_counted(void **state)
{
	(void)state;
	for (uint32_t victim = 0; victim < ZD_PINS_PER_BUCKET; victim++)
		a_new_pin_takes(victim, 3, true);
}

static void an_ended_pin_makes_room_uncounted(void **state)
{
	(void)state;
	for (uint32_t victim = 0; victim < ZD_PINS_PER_BUCKET; victim++)
		a_new_pin_takes(victim, 0, false);
}

static void a_pin_ended_long_ago_makes_room_uncounted(void **state)
{
	(void)state;
	a_new_pin_takes(5, WORLD_IDLE_TICKS + 3, false);
}

static void a_flow_never_has_two_pins(void **state)
{
	uint64_t before[ZD_PINS_PER_BUCKET];

	(void)state;
	fill();
	for (uint32_t i = 0; i < ZD_PINS_PER_BUCKET; i++)
		age((volatile uint64_t *)&narrow.pins[0].word[i], i == 1 ? 0 : 20 + i);
	/* Flow 1003's own word stands behind an ended one, and is established: a new connection. */
	narrow.pins[0].word[3] |= (uint64_t)ZD_PIN_ESTABLISHED << ZD_PIN_STATE_SHIFT;
	for (int i = 0; i < ZD_PINS_PER_BUCKET; i++)
		before[i] = narrow.pins[0].word[i];
	syn(1003);
	assert_int_equal(changed_word(before), 3);
}

static void a_flood_of_syns_displaces_only_embryonic_pins(void **state)
{
	uint64_t kept[4];

	(void)state;
	fill();
	for (int i = 0; i < 4; i++) {
		narrow.pins[0].word[i] |= (uint64_t)ZD_PIN_ESTABLISHED << ZD_PIN_STATE_SHIFT;
		age((volatile uint64_t *)&narrow.pins[0].word[i], WORLD_IDLE_TICKS);
		kept[i] = narrow.pins[0].word[i];
	}
	for (uint16_t port = 3000; port < 5000; port++)
		syn(port);
	for (int i = 0; i < 4; i++)
		assert_int_equal(narrow.pins[0].word[i], kept[i]);
}

static void a_pin_tells_its_slot(void **state)
{
	(void)state;
	world_reset(&world);
	for (uint16_t port = 1; port < 200; port++) {
		struct frame f = world_request(false, FRAME_SYN);
		struct world_frame out;
		uint32_t slot;

		memset((void *)(uintptr_t)world.pins, 0,
		       WORLD_BUCKETS * sizeof(struct zd_pin_bucket));
		world_slots(&world, ZD_SLOT(1, 1, ZD_SLOT_MOVING));
		f.sport = port;
		world_send(&world, WORLD_XDP, world.front, &f, &out);
		slot = ZD_SLOT_INDEX(world_pin(&world), WORLD_SLOTS - 1);
		/* Only that slot names backend 2 now, so the flow's next packet tells. */
		memset((void *)(uintptr_t)world.pins, 0,
		       WORLD_BUCKETS * sizeof(struct zd_pin_bucket));
		world.ring[slot] = ZD_SLOT(2, 2, ZD_SLOT_MOVING);
		world_send(&world, WORLD_XDP, world.front, &f, &out);
		assert_int_equal(ZD_PIN_BACKEND(world_pin(&world)), 2);
	}
}

int main(void)
{
	static const struct CMUnitTest pins[] = {
		cmocka_unit_test(the_pin_that_ends_first_makes_room_and_is_counted),
		cmocka_unit_test(an_ended_pin_makes_room_uncounted),
		cmocka_unit_test(a_pin_ended_long_ago_makes_room_uncounted),
		cmocka_unit_test(a_flow_never_has_two_pins),
		cmocka_unit_test(a_flood_of_syns_displaces_only_embryonic_pins),
		cmocka_unit_test(a_pin_tells_its_slot),
	};
	enum { NPINS = sizeof(pins) / sizeof(pins[0]), NTESTS = NSCRIPTS * 4 + NPINS };
	static struct run runs[NSCRIPTS * 4];
	static struct CMUnitTest tests[NTESTS];
	static char names[NSCRIPTS * 4][128];

	for (size_t i = 0; i < NSCRIPTS * 4; i++) {
		runs[i] = (struct run){ &scripts[i / 4], i % 2 ? WORLD_TC : WORLD_XDP, i / 2 % 2 };
		snprintf(names[i], sizeof(names[i]), "%s (%s, %s)", runs[i].script->name,
			 runs[i].hook == WORLD_TC ? "tc" : "xdp", runs[i].v6 ? "v6" : "v4");
		tests[i] = (struct CMUnitTest){ names[i], script_counts, NULL, NULL, &runs[i] };
	}
	memcpy(tests + NSCRIPTS * 4, pins, sizeof(pins));
	if (world_enter() || world_open(&world, WORLD_SLOTS, WORLD_BUCKETS) ||
	    world_open(&narrow, WORLD_SLOTS, 1))
		return 1;
	return cmocka_run_group_tests_name("births and pins", tests, NULL, NULL);
}
