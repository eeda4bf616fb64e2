/* SPDX-License-Identifier: GPL-2.0-only */
/* Names, addresses and defaults, and every rule of model_validate with its place. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../agent/core/model.h"

static void endpoints_are_written_and_read(void **state)
{
	static const char *const texts[] = {
		"10.0.0.1:80", "255.255.255.255:65535", "[2001:db8::1]:1", "[::]:443", "0.0.0.0:9",
	};
	char buf[ENDPOINT_TEXT_LEN];
	struct endpoint e;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_true(endpoint_parse(&e, texts[i]));
		assert_string_equal(endpoint_text(&e, buf), texts[i]);
		assert_int_equal(endpoint_is_v4(&e), texts[i][0] != '[');
		e.port = 0;
		endpoint_text(&e, buf);
		assert_true(endpoint_parse_addr(&e, buf));
	}
}

static void what_is_not_an_endpoint_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		":",
		"80",
		"10.0.0.1",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0.1:+1",
		"10.0.0.1: 1",
		"10.0.0.1:080",
		"10.0.0.1:4294967376",
		"10.0.0:80",
		"[10.0.0.1]:80",
		"2001:db8::1:80",
		"[2001:db8::1]",
		"[2001:db8::1:80",
		"2001:db8::1]:80",
		"[]:80",
		"[:80",
		"host:80",
		"[2001:db8:1111:2222:3333:4444:5555:6666:7777:8888:9999]:80",
	};
	struct endpoint e = { .port = 77 };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		if (endpoint_parse(&e, texts[i]))
			fail_msg("taken: %s", texts[i]);
	assert_false(endpoint_parse_addr(&e, "10.0.0.1:80"));
	assert_int_equal(e.port, 77);
}

static void names_are_short_and_plain(void **state)
{
	static const char *const good[] = { "a", "0", "v1.0", "a_b-c.d", "Z9" };
	static const char *const bad[] = { "", ".a", "-a", "_a", "a b", "a/b", "\xc3\xa4", "a\n" };
	char name[MODEL_NAME_LEN + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(name_is_valid(good[i]));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(name_is_valid(bad[i]));

	memset(name, 'a', sizeof(name));
	name[MODEL_NAME_LEN] = '\0';
	assert_false(name_is_valid(name));
	name[MODEL_NAME_LEN - 1] = '\0';
	assert_true(name_is_valid(name));
}

static void statuses_are_read_as_they_are_written(void **state)
{
	enum version_status read = VERSION_TESTING;

	(void)state;
	for (enum version_status s = VERSION_TESTING; s <= VERSION_DEPRECATED; s++) {
		assert_true(version_status_parse(&read, version_status_name(s)));
		assert_int_equal(read, s);
	}
	assert_false(version_status_parse(&read, "live"));
}

static struct vip *vip_at(struct vip *v, const char *endpoint)
{
	*v = (struct vip){ .proto = IPPROTO_TCP };
	assert_true(endpoint_parse(&v->ep, endpoint));
	return v;
}

static void fill_version(struct version *v, size_t service, size_t i)
{
	char text[ENDPOINT_TEXT_LEN];

	snprintf(v->name, sizeof(v->name), "v%zu", i);
	snprintf(v->pointer, sizeof(v->pointer), "/services/%zu/versions/%zu", service, i);
	v->weight_bp = i == 0 ? 9999 : 1;
	v->nbackends = 2;
	v->backends = calloc(v->nbackends, sizeof(*v->backends));
	assert_non_null(v->backends);
	for (size_t k = 0; k < v->nbackends; k++) {
		snprintf(text, sizeof(text), "10.%zu.%zu.%zu:80", service, i, k + 1);
		assert_true(endpoint_parse(&v->backends[k].ep, text));
		v->backends[k].weight = 1;
		snprintf(v->backends[k].pointer, sizeof(v->backends[k].pointer),
			 "/services/%zu/versions/%zu/backends/%zu", service, i, k);
	}
}

static void fill_service(struct service *s, size_t i)
{
	char text[ENDPOINT_TEXT_LEN];

	snprintf(s->name, sizeof(s->name), "s%zu", i);
	snprintf(s->pointer, sizeof(s->pointer), "/services/%zu", i);
	s->ring_slots = 16384;
	s->nvips = 1;
	s->vips = calloc(2, sizeof(*s->vips)); /* room for one too many */
	s->nversions = 2;
	s->versions = calloc(2, sizeof(*s->versions));
	assert_true(s->vips && s->versions);
	snprintf(text, sizeof(text), "192.0.2.%zu:443", i + 1);
	vip_at(&s->vips[0], text);
	vip_at(&s->vips[1], "192.0.2.99:443");
	for (size_t k = 0; k < 2; k++) {
		snprintf(s->vips[k].pointer, sizeof(s->vips[k].pointer), "/services/%zu/vips/%zu",
			 i, k);
		fill_version(&s->versions[k], i, k);
	}
}

/* Two services of two versions of two backends, two interfaces, two strategies. */
static struct model *make_model(void)
{
	struct model *m = model_new();

	assert_non_null(m);
	m->services = calloc(2, sizeof(*m->services));
	m->strategies = calloc(2, sizeof(*m->strategies));
	m->interfaces = calloc(2, sizeof(*m->interfaces));
	assert_true(m->services && m->strategies && m->interfaces);
	m->nservices = m->nstrategies = m->ninterfaces = 2;
	for (size_t i = 0; i < 2; i++) {
		fill_service(&m->services[i], i);
		snprintf(m->strategies[i].name, MODEL_NAME_LEN, "plan%zu", i);
		m->strategies[i].nsteps = 1;
		snprintf(m->interfaces[i].name, MODEL_IFNAME_LEN, "eth%zu", i);
	}
	return m;
}

static void a_sound_model_passes(void **state)
{
	struct model *m = make_model(), *empty = model_new();
	struct diag d;

	(void)state;
	assert_int_equal(model_validate(m, &d), 0);
	assert_int_equal(model_validate(empty, &d), 0);
	assert_int_equal(model_validate(m, NULL), 0);
	m->services[0].ring_slots = 1024;
	m->services[1].ring_slots = 1048576;
	assert_int_equal(model_validate(m, &d), 0);
	model_free(m);
	model_free(empty);
	model_free(NULL);
}

static void the_only_version_of_a_service_has_all_the_weight(void **state)
{
	struct model *m = make_model();
	struct service *s = &m->services[1];

	(void)state;
	version_fini(&s->versions[1]);
	s->nversions = 1;
	s->versions[0].weight_bp = 10000;
	assert_int_equal(model_validate(m, NULL), 0);
	s->versions[0].weight_bp = 0;
	assert_int_equal(model_validate(m, NULL), -EINVAL);
	model_free(m);
}

static void break_interface_name(struct model *m)
{
	m->interfaces[1].name[0] = '\0';
}
static void break_interface_twice(struct model *m)
{
	strcpy(m->interfaces[1].name, "eth0");
}
static void break_strategy_name(struct model *m)
{
	strcpy(m->strategies[1].name, "a b");
}
static void break_strategy_twice(struct model *m)
{
	strcpy(m->strategies[1].name, "plan0");
}
static void break_strategy_steps(struct model *m)
{
	m->strategies[1].nsteps = 0;
}
static void break_service_name(struct model *m)
{
	strcpy(m->services[1].name, "../x");
}
static void break_service_twice(struct model *m)
{
	strcpy(m->services[1].name, "s0");
}
static void break_no_vips(struct model *m)
{
	m->services[1].nvips = 0;
}
static void break_no_versions(struct model *m)
{
	for (size_t i = 0; i < 2; i++)
		version_fini(&m->services[1].versions[i]);
	m->services[1].nversions = 0;
}
static void break_vip_families(struct model *m)
{
	m->services[1].nvips = 2;
	endpoint_parse(&m->services[1].vips[1].ep, "[2001:db8::1]:443");
}
static void break_vip_protocol(struct model *m)
{
	m->services[1].vips[0].proto = IPPROTO_ICMP;
}
static void break_udp_tracking(struct model *m)
{
	m->services[1].vips[0].proto = IPPROTO_UDP;
}
static void break_kept_port(struct model *m)
{
	m->services[1].mode = MODE_GUE;
}
static void break_dsr_families(struct model *m)
{
	m->services[1].mode = MODE_DSR;
	break_vip_families(m);
}
static void break_vip_count(struct model *m)
{
	struct service *s = &m->services[1];

	m->dataplane.max_services = 2;
	s->mode = MODE_IPIP;
	s->nvips = 8;
	s->vips = realloc(s->vips, s->nvips * sizeof(*s->vips));
	assert_non_null(s->vips);
	for (size_t i = 0; i < s->nvips; i++) {
		s->vips[i] = s->vips[0];
		s->vips[i].ep.port = (uint16_t)(80 + i);
	}
}
static void break_address_twice(struct model *m)
{
	struct service *s = &m->services[1];

	s->mode = MODE_DSR;
	s->nvips = 2;
	s->vips[0].ep.port = 80;
	s->versions[1].backends[1].ep = s->versions[0].backends[0].ep;
	s->versions[1].backends[1].ep.port = 443;
}
static void break_tunnel_to_a_vip(struct model *m)
{
	struct service *s = &m->services[1];

	s->mode = MODE_IPIP;
	s->vips[0].ep.port = 80;
	s->versions[1].backends[1].ep = m->services[0].vips[0].ep;
	s->versions[1].backends[1].ep.port = 80;
}
static void break_vip_port(struct model *m)
{
	m->services[1].vips[0].ep.port = 0;
}
static void break_vip_multicast(struct model *m)
{
	endpoint_parse(&m->services[1].vips[0].ep, "224.0.0.1:80");
}
static void break_vip_any(struct model *m)
{
	endpoint_parse(&m->services[1].vips[0].ep, "[::]:80");
}
static void break_vip_twice(struct model *m)
{
	m->services[1].vips[0].ep = m->services[0].vips[0].ep;
}
static void break_two_vips(struct model *m)
{
	m->services[1].nvips = 2;
}
static void break_version_name(struct model *m)
{
	m->services[1].versions[1].name[0] = '\0';
}
static void break_version_twice(struct model *m)
{
	strcpy(m->services[1].versions[1].name, "v0");
}
static void break_version_weight(struct model *m)
{
	m->services[1].versions[1].weight_bp = 10001;
}
static void break_no_backends(struct model *m)
{
	m->services[1].versions[1].nbackends = 0;
}
static void break_weights_over(struct model *m)
{
	m->services[1].versions[1].weight_bp = 2;
}
static void break_weights_zero(struct model *m)
{
	m->services[1].versions[0].weight_bp = m->services[1].versions[1].weight_bp = 0;
}
static struct backend *last_backend(struct model *m)
{
	return &m->services[1].versions[1].backends[1];
}
static void break_backend_port(struct model *m)
{
	last_backend(m)->ep.port = 0;
}
static void break_backend_address(struct model *m)
{
	endpoint_parse(&last_backend(m)->ep, "[ff02::1]:80");
}
static void break_backend_weight(struct model *m)
{
	last_backend(m)->weight = 10001;
}
static void break_backend_family(struct model *m)
{
	endpoint_parse(&last_backend(m)->ep, "[2001:db8::1]:80");
}
static void break_backend_in_two_services(struct model *m)
{
	last_backend(m)->ep = m->services[0].versions[0].backends[0].ep;
}
static void break_backend_in_two_versions(struct model *m)
{
	last_backend(m)->ep = m->services[1].versions[0].backends[0].ep;
}
static void break_backend_is_own_vip(struct model *m)
{
	last_backend(m)->ep = m->services[1].vips[0].ep;
}
static void break_vip_is_earlier_backend(struct model *m)
{
	m->services[1].vips[0].ep = m->services[0].versions[0].backends[0].ep;
}
static void break_ring_small(struct model *m)
{
	m->services[1].ring_slots = 512;
}
static void break_ring_large(struct model *m)
{
	m->services[1].ring_slots = 2097152;
}
static void break_ring_odd(struct model *m)
{
	m->services[1].ring_slots = 16383;
}
static void break_ring_default(struct model *m)
{
	m->services[1].ring_slots = m->dataplane.ring_slots = 1000;
}
static void break_max_services(struct model *m)
{
	m->dataplane.max_services = 1;
}
static void break_max_backends(struct model *m)
{
	m->dataplane.max_backends = 8;
}
static void break_max_slots(struct model *m)
{
	m->dataplane.max_slots = 32767;
}

#define AT_VIP     "/services/1/vips/0"
#define AT_VERSION "/services/1/versions/1"
#define AT_BACKEND "/services/1/versions/1/backends/1"

static const struct {
	void (*break_it)(struct model *m);
	const char *code, *pointer;
} broken[] = {
	{ break_interface_name, "bad_name", "/interfaces/1/name" },
	{ break_interface_twice, "duplicate", "/interfaces/1/name" },
	{ break_strategy_name, "bad_name", "/strategies/a b" },
	{ break_strategy_twice, "duplicate", "/strategies/plan0" },
	{ break_strategy_steps, "bad_steps", "/strategies/plan1/steps" },
	{ break_service_name, "bad_name", "/services/1" },
	{ break_service_twice, "duplicate", "/services/1" },
	{ break_no_vips, "no_vips", "/services/1/vips" },
	{ break_no_versions, "no_versions", "/services/1/versions" },
	{ break_vip_protocol, "bad_protocol", AT_VIP "/protocol" },
	{ break_udp_tracking, "bad_tracking", "/services/1/tracking" },
	{ break_kept_port, "bad_port", "/services/1/versions/0/backends/0" },
	{ break_dsr_families, "mixed_families", "/services/1/vips/1" },
	{ break_vip_count, "too_many_vips", "/services" },
	{ break_address_twice, "duplicate_backend", AT_BACKEND },
	{ break_tunnel_to_a_vip, "backend_is_vip", AT_BACKEND },
	{ break_vip_port, "bad_port", AT_VIP "/port" },
	{ break_vip_multicast, "bad_address", AT_VIP },
	{ break_vip_any, "bad_address", AT_VIP },
	{ break_vip_twice, "duplicate_vip", AT_VIP },
	{ break_two_vips, "too_many_vips", "/services/1/vips/1" },
	{ break_vip_families, "mixed_families", "/services/1/vips/1" },
	{ break_version_name, "bad_name", AT_VERSION },
	{ break_version_twice, "duplicate", AT_VERSION },
	{ break_version_weight, "bad_weight", AT_VERSION },
	{ break_no_backends, "no_backends", AT_VERSION },
	{ break_weights_over, "bad_weights", "/services/1/versions" },
	{ break_weights_zero, "bad_weights", "/services/1/versions" },
	{ break_backend_port, "bad_port", AT_BACKEND },
	{ break_backend_address, "bad_address", AT_BACKEND },
	{ break_backend_weight, "bad_weight", AT_BACKEND },
	{ break_backend_family, "mixed_families", AT_BACKEND },
	{ break_backend_in_two_services, "duplicate_backend", AT_BACKEND },
	{ break_backend_in_two_versions, "duplicate_backend", AT_BACKEND },
	{ break_backend_is_own_vip, "backend_is_vip", AT_BACKEND },
	{ break_vip_is_earlier_backend, "backend_is_vip", "/services/0/versions/0/backends/0" },
	{ break_ring_small, "bad_ring_size", "/services/1/ringSize" },
	{ break_ring_large, "bad_ring_size", "/services/1/ringSize" },
	{ break_ring_odd, "bad_ring_size", "/services/1/ringSize" },
	{ break_ring_default, "bad_ring_size", "/dataplane/ringSize" },
	{ break_max_services, "too_many_services", "/services" },
	{ break_max_backends, "too_many_backends", "/services" },
	{ break_max_slots, "rings_too_large", "/dataplane" },
};

static void each_broken_rule_is_told_with_place_cause_and_cure(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct model *m = make_model();
		struct diag d = { .code = "" };

		broken[i].break_it(m);
		assert_int_equal(model_validate(m, &d), -EINVAL);
		assert_string_equal(d.code, broken[i].code);
		assert_string_equal(d.pointer, broken[i].pointer);
		assert_non_null(strstr(d.text, ". ")); /* two sentences */
		assert_int_equal(d.text[strlen(d.text) - 1], '.');
		model_free(m);
	}
}

static void tcp_and_udp_share_an_address_and_port(void **state)
{
	struct model *m = make_model();
	struct service *s = &m->services[0], *other = &m->services[1];

	(void)state;
	s->nvips = 2;
	s->vips[1].ep = s->vips[0].ep;
	s->vips[1].proto = IPPROTO_UDP;
	s->tracking = TRACKING_FULL;
	assert_int_equal(model_validate(m, NULL), 0);

	/* In two services, down to the backends. */
	s->nvips = 1;
	other->vips[0].ep = s->vips[0].ep;
	other->vips[0].proto = IPPROTO_UDP;
	other->tracking = TRACKING_FULL;
	other->versions[0].backends[0].ep = s->versions[0].backends[0].ep;
	assert_int_equal(model_validate(m, NULL), 0);
	other->vips[0].proto = IPPROTO_TCP;
	assert_int_equal(model_validate(m, NULL), -EINVAL);
	model_free(m);
}

static void what_is_not_rewritten_has_more_freedom(void **state)
{
	struct model *m = make_model();
	struct service *s = &m->services[0], *other = &m->services[1];

	(void)state;
	/* Several VIPs, and a backend in two services. */
	s->mode = other->mode = MODE_DSR;
	s->nvips = 2;
	s->vips[0].ep.port = s->vips[1].ep.port = other->vips[0].ep.port = 80;
	other->versions[0].backends[0].ep = s->versions[0].backends[0].ep;
	assert_int_equal(model_validate(m, NULL), 0);

	/* In a tunnel, of any family. */
	s->mode = MODE_GUE;
	assert_true(endpoint_parse(&s->vips[1].ep, "[2001:db8::1]:80"));
	assert_true(endpoint_parse(&s->versions[0].backends[1].ep, "[2001:db8:1::1]:80"));
	assert_int_equal(model_validate(m, NULL), 0);
	model_free(m);
}

static void a_backend_without_a_port_has_the_vips(void **state)
{
	struct model *m = make_model();
	struct service *s = &m->services[0];
	struct version *v = &s->versions[0];

	(void)state;
	v->backends[0].ep.port = 0;
	service_complete_version(s, v);
	assert_int_equal(v->backends[0].ep.port, 0);
	s->mode = MODE_IPIP;
	service_complete_version(s, v);
	assert_int_equal(v->backends[0].ep.port, 443);
	assert_int_equal(v->backends[1].ep.port, 80);
	model_free(m);
}

static void a_service_is_idle_as_long_as_its_slowest_protocol(void **state)
{
	struct dataplane_config d = { .tcp_established_ms = 9, .udp_ms = 5 };
	struct model *m = make_model();
	struct service *s = &m->services[0];

	(void)state;
	assert_int_equal(service_idle_ms(s, &d), 9);
	s->vips[0].proto = IPPROTO_UDP;
	assert_int_equal(service_idle_ms(s, &d), 5);
	s->nvips = 2;
	assert_int_equal(service_idle_ms(s, &d), 9);
	d.udp_ms = 10;
	assert_int_equal(service_idle_ms(s, &d), 10);
	assert_ptr_equal(service_vip(s, true, IPPROTO_UDP), &s->vips[0]);
	assert_ptr_equal(service_vip(s, true, IPPROTO_TCP), &s->vips[1]);
	assert_null(service_vip(s, false, IPPROTO_UDP));
	model_free(m);
}

static void a_copy_of_a_version_is_its_own(void **state)
{
	struct version a = { .name = "" }, b = { .name = "" }, none = { .name = "none" };

	(void)state;
	fill_version(&a, 0, 0);
	assert_int_equal(version_copy(&b, &a), 0);
	assert_ptr_not_equal(a.backends, b.backends);
	assert_memory_equal(a.backends, b.backends, 2 * sizeof(*a.backends));
	version_fini(&a);
	assert_string_equal(b.name, "v0");
	version_fini(&b);
	version_fini(&b);
	assert_int_equal(version_copy(&b, &none), 0);
	assert_null(b.backends);
}

static void objects_are_found_by_name(void **state)
{
	struct model *m = make_model();

	(void)state;
	assert_ptr_equal(model_service(m, "s1"), &m->services[1]);
	assert_null(model_service(m, "s2"));
	assert_ptr_equal(service_version(&m->services[1], "v1"), &m->services[1].versions[1]);
	assert_null(service_version(&m->services[1], "v2"));
	assert_ptr_equal(model_strategy(m, "plan1"), &m->strategies[1]);
	assert_null(model_strategy(m, "plan2"));
	model_free(m);
}

static void complaints_that_are_too_long_are_cut(void **state)
{
	char longish[1000];
	struct diag d;

	(void)state;
	memset(longish, 'x', sizeof(longish));
	longish[sizeof(longish) - 1] = '\0';
	assert_int_equal(diag_set(&d, EBUSY, longish, longish, "%s", longish), -EBUSY);
	assert_int_equal(strlen(d.code), sizeof(d.code) - 1);
	assert_int_equal(strlen(d.pointer), sizeof(d.pointer) - 1);
	assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
	assert_int_equal(diag_set(NULL, EINVAL, "x", "", "x"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoints_are_written_and_read),
		cmocka_unit_test(what_is_not_an_endpoint_is_refused),
		cmocka_unit_test(names_are_short_and_plain),
		cmocka_unit_test(statuses_are_read_as_they_are_written),
		cmocka_unit_test(a_sound_model_passes),
		cmocka_unit_test(the_only_version_of_a_service_has_all_the_weight),
		cmocka_unit_test(each_broken_rule_is_told_with_place_cause_and_cure),
		cmocka_unit_test(tcp_and_udp_share_an_address_and_port),
		cmocka_unit_test(what_is_not_rewritten_has_more_freedom),
		cmocka_unit_test(a_backend_without_a_port_has_the_vips),
		cmocka_unit_test(a_service_is_idle_as_long_as_its_slowest_protocol),
		cmocka_unit_test(a_copy_of_a_version_is_its_own),
		cmocka_unit_test(objects_are_found_by_name),
		cmocka_unit_test(complaints_that_are_too_long_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
