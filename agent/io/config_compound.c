/* SPDX-License-Identifier: GPL-2.0-only */
/* Values that fill more than one member: addresses, status ranges, the hash seed, steps. */
#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/model.h"
#include "config_values.h"

#define V4_OFFSET 12 /* of the IPv4 address in a v4-mapped one */

static const char *text_of(struct json_object *j)
{
	return json_object_is_type(j, json_type_string) ? json_object_get_string(j) : "";
}

/* One host's address: not "any", not multicast, not broadcast. */
static bool is_unicast(const struct endpoint *e)
{
	static const uint8_t any[sizeof(e->addr)];
	uint8_t first = endpoint_is_v4(e) ? e->addr[V4_OFFSET] : e->addr[0];

	if (endpoint_is_v4(e))
		return first != 0 && first < 224;
	return memcmp(e->addr, any, sizeof(any)) != 0 && first != 0xff;
}

static int read_address(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct endpoint e = *(struct endpoint *)at;

	(void)f;
	if (!endpoint_parse_addr(&e, text_of(j)))
		return schema_wrong(r, j, "an IPv4 or IPv6 address without a port");
	if (!is_unicast(&e))
		return schema_wrong(r, j, "a unicast address");
	*(struct endpoint *)at = e;
	return 0;
}

static struct json_object *write_address(const struct field *f, const void *at)
{
	struct endpoint e = *(const struct endpoint *)at;
	char text[ENDPOINT_TEXT_LEN];

	(void)f;
	e.port = 0;
	return json_object_new_string(endpoint_text(&e, text));
}

const struct kind kind_address = { read_address, write_address };

static bool is_loopback(const struct endpoint *e)
{
	static const uint8_t one[sizeof(e->addr)] = { [15] = 1 };

	return endpoint_is_v4(e) ? e->addr[V4_OFFSET] == 127
				 : memcmp(e->addr, one, sizeof(one)) == 0;
}

static int read_listen(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct admin_config *admin = at;
	struct endpoint e;

	(void)f;
	if (json_object_is_type(j, json_type_boolean) && !json_object_get_boolean(j)) {
		admin->tcp = false;
		return 0;
	}
	if (!endpoint_parse(&e, text_of(j)))
		return schema_wrong(r, j, "an address and port as \"127.0.0.1:9090\", or false");
	if (!is_loopback(&e))
		return schema_wrong(r, j,
				    "a loopback address (127.0.0.0/8 or ::1), because this release "
				    "does not ask callers who they are");
	admin->tcp = true;
	admin->listen = e;
	return 0;
}

static struct json_object *write_listen(const struct field *f, const void *at)
{
	const struct admin_config *admin = at;
	char text[ENDPOINT_TEXT_LEN];

	(void)f;
	if (!admin->tcp)
		return json_object_new_boolean(false);
	return json_object_new_string(endpoint_text(&admin->listen, text));
}

const struct kind kind_listen = { read_listen, write_listen };

#define HAS_SEED_OFFSET offsetof(struct dataplane_config, has_hash_seed)

static int read_hash_seed(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct dataplane_config *dataplane = (void *)((char *)at - HAS_SEED_OFFSET);
	const char *s = text_of(j);

	(void)f;
	if (strlen(s) != 2 * sizeof(dataplane->hash_seed) ||
	    strspn(s, "0123456789abcdefABCDEF") != strlen(s))
		return schema_wrong(r, j, "32 hexadecimal digits");
	for (size_t i = 0; i < sizeof(dataplane->hash_seed); i++) {
		char pair[3] = { s[2 * i], s[2 * i + 1], '\0' };

		dataplane->hash_seed[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	dataplane->has_hash_seed = true;
	return 0;
}

static struct json_object *write_hash_seed(const struct field *f, const void *at)
{
	const struct dataplane_config *dataplane =
		(const void *)((const char *)at - HAS_SEED_OFFSET);
	char text[2 * sizeof(dataplane->hash_seed) + 1];

	(void)f;
	for (size_t i = 0; i < sizeof(dataplane->hash_seed); i++)
		sprintf(text + 2 * i, "%02x", dataplane->hash_seed[i]);
	return json_object_new_string(text);
}

const struct kind kind_hash_seed = { read_hash_seed, write_hash_seed };

/* "200" or "200-299". */
static bool parse_status_range(struct health_check *c, const char *s)
{
	static const char digits[] = "0123456789";
	bool is_range = strlen(s) == strlen("200-299") && s[3] == '-';
	unsigned long low, high;

	if (strspn(s, digits) != 3 || (is_range ? strspn(s + 4, digits) != 3 : s[3] != '\0'))
		return false;
	low = strtoul(s, NULL, 10);
	high = is_range ? strtoul(s + 4, NULL, 10) : low;
	if (low < 100 || high > 599 || low > high)
		return false;
	c->status_min = (uint16_t)low;
	c->status_max = (uint16_t)high;
	return true;
}

static int read_status_range(struct reader *r, const struct field *f, struct json_object *j,
			     void *at)
{
	(void)f;
	if ((!json_object_is_type(j, json_type_string) && !json_object_is_type(j, json_type_int)) ||
	    !parse_status_range(at, json_object_get_string(j)))
		return schema_wrong(r, j, "a status from 100 to 599, or a range as \"200-299\"");
	return 0;
}

static struct json_object *write_status_range(const struct field *f, const void *at)
{
	const struct health_check *c = at;
	char text[16];

	(void)f;
	if (c->status_min == c->status_max)
		return json_object_new_int(c->status_min);
	snprintf(text, sizeof(text), "%u-%u", c->status_min, c->status_max);
	return json_object_new_string(text);
}

const struct kind kind_status_range = { read_status_range, write_status_range };

/* "http://addr", "http://addr:port", also with a slash behind. */
static bool parse_url(struct endpoint *e, const char *url)
{
	static const char scheme[] = "http://";
	char authority[ENDPOINT_TEXT_LEN], with_port[ENDPOINT_TEXT_LEN + 8];
	size_t len;

	if (strncmp(url, scheme, strlen(scheme)) != 0)
		return false;
	url += strlen(scheme);
	len = strcspn(url, "/");
	if (len >= sizeof(authority) || (url[len] && url[len + 1]))
		return false;
	memcpy(authority, url, len);
	authority[len] = '\0';
	snprintf(with_port, sizeof(with_port), "%s:80", authority);
	return endpoint_parse(e, authority) || endpoint_parse(e, with_port);
}

static int read_url(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct version *v = at;
	struct endpoint e;

	(void)f;
	if (strncmp(text_of(j), "https://", strlen("https://")) == 0)
		return schema_complain(r, "unsupported",
				       "https:// is not supported by this release; backends are "
				       "forwarded to as they are, so write http://ADDRESS:PORT");
	if (v->nbackends > 0)
		return schema_complain(r, "conflict",
				       "\"url\" and \"backends\" name the same thing; keep one of "
				       "them");
	if (!parse_url(&e, text_of(j)) || !is_unicast(&e))
		return schema_wrong(r, j,
				    "http://ADDRESS:PORT with a numeric address, since host names "
				    "are not looked up");
	v->backends = calloc(1, sizeof(*v->backends));
	if (!v->backends)
		return -ENOMEM;
	v->nbackends = 1;
	v->backends[0].ep = e;
	v->backends[0].weight = 1;
	snprintf(v->backends[0].pointer, sizeof(v->backends[0].pointer), "%.*s",
		 (int)sizeof(v->backends[0].pointer) - 1, r->path.text);
	return 0;
}

const struct kind kind_url = { read_url, NULL };

#define STEP_PAUSE_MAX_MS (30LL * 24 * 3600 * 1000)

static const struct field step_fields[] = {
	{ "setWeight", &kind_weight, FIELD_AT(struct strategy_step, weight_bp),
	  .flags = FIELD_REQUIRED, .min = 1 },
	{ "pause", &kind_duration, FIELD_AT(struct strategy_step, pause_ms),
	  .max = STEP_PAUSE_MAX_MS },
	{ .key = "analysis" },
	{ .key = "experiment" },
	{ .key = NULL },
};

static void step_begin(struct reader *r, void *at)
{
	struct strategy_step *step = at;

	step->pause_ms = r->step_pause_ms;
}

static const struct object step_object = {
	.fields = step_fields,
	.size = sizeof(struct strategy_step),
	.begin = step_begin,
};

/* An object, or the weight alone. Steps rise. */
static int read_step(struct reader *r, struct json_object *j, struct strategy *s)
{
	struct strategy_step step = { 0, 0 };
	bool is_object = json_object_is_type(j, json_type_object);
	const char *key = is_object ? "setWeight" : "";
	size_t before;
	int err;

	if (is_object) {
		err = schema_read(r, &step_object, j, &step);
	} else {
		step_begin(r, &step);
		err = kind_weight.read(r, &step_fields[0], j, &step.weight_bp);
	}
	if (err)
		return err;
	if (s->nsteps > 0 && step.weight_bp <= s->steps[s->nsteps - 1].weight_bp) {
		before = is_object ? json_path_key(&r->path, key) : r->path.len;
		err = schema_complain(r, "invalid_value",
				      "found a weight that is not above that of the step before; "
				      "steps rise up to 100");
		json_path_pop(&r->path, before);
		return err;
	}
	s->steps[s->nsteps++] = step;
	return 0;
}

static int read_steps(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct strategy *s = at;
	size_t n, before;
	int err;

	(void)f;
	if (!json_object_is_type(j, json_type_array))
		return schema_wrong(r, j, "a list of steps");
	n = json_object_array_length(j);
	if (n < 1 || n > STRATEGY_MAX_STEPS)
		return schema_complain(r, "invalid_value", "found %zu steps; allowed are 1 to %d",
				       n, STRATEGY_MAX_STEPS);
	s->nsteps = 0;
	for (size_t i = 0; i < n; i++) {
		before = json_path_index(&r->path, i);
		err = read_step(r, json_object_array_get_idx(j, i), s);
		json_path_pop(&r->path, before);
		if (err)
			return err;
	}
	if (s->steps[n - 1].weight_bp != WEIGHT_FULL_BP)
		return schema_complain(r, "invalid_value",
				       "the last step sets %g %%; it must set 100",
				       s->steps[n - 1].weight_bp / 100.0);
	return 0;
}

static struct json_object *write_steps(const struct field *f, const void *at)
{
	const struct strategy *s = at;
	struct json_object *array = json_object_new_array();

	(void)f;
	for (size_t i = 0; array && i < s->nsteps; i++) {
		struct json_object *item = schema_write(&step_object, &s->steps[i]);

		if (!item || json_object_array_add(array, item)) {
			json_object_put(item);
			json_object_put(array);
			return NULL;
		}
	}
	return array;
}

const struct kind kind_steps = { read_steps, write_steps };

static int read_step_pause(struct reader *r, const struct field *f, struct json_object *j, void *at)
{
	struct field into = *f;

	(void)at;
	into.size = sizeof(r->step_pause_ms);
	into.max = STEP_PAUSE_MAX_MS;
	return kind_duration.read(r, &into, j, &r->step_pause_ms);
}

const struct kind kind_step_pause = { read_step_pause, NULL };
