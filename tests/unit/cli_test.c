/* SPDX-License-Identifier: GPL-2.0-only */
/* The pure parts of the command line: words and options, small languages, clean text, tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>

#include "../../tools/cli_args.h"
#include "../../tools/cli_field.h"
#include "../../tools/cli_table.h"

#define N(a) (sizeof(a) / sizeof(*(a)))

static int parse(struct cli_args *a, const char *line)
{
	static char text[512];
	static char *argv[64];
	int argc = 0;

	snprintf(text, sizeof(text), "zddlb %s", line);
	for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	return cli_args_parse(a, argc, argv);
}

static void options_may_stand_anywhere(void **state)
{
	static const char *const lines[] = {
		"-o json deploy start web --to v2 --wait",
		"deploy --wait start --to=v2 web --output json",
		"deploy start web -ojson --wait --to v2",
	};
	struct cli_args a;

	(void)state;
	for (size_t i = 0; i < N(lines); i++) {
		assert_int_equal(parse(&a, lines[i]), 0);
		assert_int_equal(a.nwords, 3);
		assert_string_equal(a.words[2], "web");
		assert_string_equal(a.value[OPT_OUTPUT], "json");
		assert_string_equal(a.value[OPT_TO], "v2");
		assert_non_null(a.value[OPT_WAIT]);
		assert_null(a.value[OPT_FROM]);
		assert_int_equal(a.given,
				 OPT_BIT(OPT_OUTPUT) | OPT_BIT(OPT_TO) | OPT_BIT(OPT_WAIT));
	}
}

static void two_dashes_end_the_options(void **state)
{
	struct cli_args a;

	(void)state;
	assert_int_equal(parse(&a, "status -- --to"), 0);
	assert_int_equal(a.nwords, 2);
	assert_string_equal(a.words[1], "--to");
	assert_int_equal(a.given, 0);
}

static void backends_are_kept_in_order(void **state)
{
	struct cli_args a;

	(void)state;
	assert_int_equal(parse(&a, "version add s v --backend a:1 --backend b:2 --backend=c:3"), 0);
	assert_int_equal(a.nbackends, 3);
	assert_string_equal(a.backends[0], "a:1");
	assert_string_equal(a.backends[2], "c:3");
}

static void a_wrong_option_is_refused_with_the_reason(void **state)
{
	static const struct {
		const char *line, *reason;
	} cases[] = {
		{ "status --sockt x", "did you mean --socket" },
		{ "status --xyzzy", "unknown option --xyzzy" },
		{ "status -q", "unknown option -q" },
		{ "deploy start --to", "--to needs a value" },
		{ "deploy start --to a --to b", "--to is given twice" },
		{ "deploy start --wait=yes", "--wait takes no value" },
	};
	struct cli_args a;

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		assert_int_equal(parse(&a, cases[i].line), -EINVAL);
		assert_non_null(strstr(a.problem, cases[i].reason));
	}
}

static void distance_counts_edits(void **state)
{
	(void)state;
	assert_int_equal(cli_distance("status", "status"), 0);
	assert_int_equal(cli_distance("statsu", "status"), 1);
	assert_int_equal(cli_distance("statu", "status"), 1);
	assert_int_equal(cli_distance("sstatus", "status"), 1);
	assert_int_equal(cli_distance("stotus", "status"), 1);
	assert_int_equal(cli_distance("", "abc"), 3);
	assert_int_equal(cli_distance("kitten", "sitting"), 3);
}

static void the_nearest_word_is_named_only_if_it_is_near(void **state)
{
	static const char *const words[] = { "status", "service", "switch", "top", "deploy" };

	(void)state;
	assert_string_equal(cli_nearest("statsu", words, N(words)), "status");
	assert_string_equal(cli_nearest("depoly", words, N(words)), "deploy");
	assert_string_equal(cli_nearest("tpo", words, N(words)), "top");
	assert_null(cli_nearest("frobnicate", words, N(words)));
	assert_null(cli_nearest("x", words, N(words)));
}

static void the_argument_text_says_how_many_words(void **state)
{
	static const struct {
		const char *text;
		size_t min, max;
	} cases[] = {
		{ "", 0, 0 },
		{ "SERVICE", 1, 1 },
		{ "[SERVICE]", 0, 1 },
		{ "SERVICE VERSION", 2, 2 },
		{ "SERVICE VERSION=PERCENT...", 2, SIZE_MAX },
		{ "[COMMAND...]", 0, 1 },
		{ "[COMMAND]...", 0, SIZE_MAX },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		size_t min, max;

		cli_arity(cases[i].text, &min, &max);
		assert_int_equal(min, cases[i].min);
		assert_int_equal(max, cases[i].max);
	}
}

static void durations_need_a_unit(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} good[] = { { "0", 0 },       { "5s", 5000 },       { "250ms", 250 },
		     { "5m", 300000 }, { "1h30m", 5400000 }, { "2d", 172800000 } };
	static const char *const bad[] = { "",    "5",    "s",   "5x",  "5s5",        "-5s",
					   "5 s", "1.5s", "5ss", "m5m", "9999999999s" };
	uint64_t ms;

	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		assert_int_equal(cli_parse_duration(&ms, good[i].text), 0);
		assert_int_equal(ms, good[i].ms);
	}
	for (size_t i = 0; i < N(bad); i++)
		assert_int_equal(cli_parse_duration(&ms, bad[i]), -EINVAL);
}

static void percentages_have_two_decimals_at_most(void **state)
{
	static const struct {
		const char *text;
		uint32_t bp;
	} good[] = { { "0", 0 },    { "100", 10000 },  { "2.5", 250 }, { "2.5%", 250 },
		     { "0.01", 1 }, { "99.99", 9999 }, { "007", 700 }, { "101", 10100 } };
	static const char *const bad[] = { "",    "-1",  "1.234", "1.",  ".5",
					   "1e1", "nan", "2,5",   "5%%", "1000" };
	uint32_t bp;

	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		assert_int_equal(cli_parse_percent(&bp, good[i].text), 0);
		assert_int_equal(bp, good[i].bp);
	}
	for (size_t i = 0; i < N(bad); i++)
		assert_int_equal(cli_parse_percent(&bp, bad[i]), -EINVAL);
}

static void a_backend_is_address_port_and_weight(void **state)
{
	static const struct {
		const char *text, *address;
		unsigned port, weight;
	} good[] = {
		{ "10.0.0.1:80", "10.0.0.1", 80, 1 },
		{ "10.0.0.1:65535,20", "10.0.0.1", 65535, 20 },
		{ "[2001:db8::1]:80", "2001:db8::1", 80, 1 },
		{ "[::1]:7200,0", "::1", 7200, 0 },
	};
	static const char *const bad[] = {
		"",           "10.0.0.1",       "10.0.0.1:",    ":80",
		"10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:80,", "::1:80",
		"[::1:80",    "[]:80",          "a:80,10001",   "a:80,-1",
		"a:8x"
	};
	struct cli_backend b;

	(void)state;
	for (size_t i = 0; i < N(good); i++) {
		assert_int_equal(cli_parse_backend(&b, good[i].text), 0);
		assert_string_equal(b.address, good[i].address);
		assert_int_equal(b.port, good[i].port);
		assert_int_equal(b.weight, good[i].weight);
	}
	for (size_t i = 0; i < N(bad); i++)
		assert_int_equal(cli_parse_backend(&b, bad[i]), -EINVAL);
}

static void text_from_outside_cannot_steer_the_terminal(void **state)
{
	static const struct {
		const char *text, *clean;
	} cases[] = {
		{ "plain", "plain" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		{ "\033[2Jgone", "?[2Jgone" },
		{ "bell\a", "bell?" },
		{ "two\nlines\r", "two?lines?" },
		{ "\x7f", "?" },
		{ "c1 \xc2\x9b"
		  "2J",
		  "c1 ??2J" },
		{ "turn \xe2\x80\xae around", "turn ??? around" },
		{ "cut \xe2\x82", "cut ??" },
		{ "overlong \xc0\x9b", "overlong ??" },
		{ "surrogate \xed\xa0\x80", "surrogate ???" },
		{ "beyond \xf4\x90\x80\x80", "beyond ????" },
		{ "latin1 \xe9t\xe9", "latin1 ?t?" },
	};
	char buf[64];

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		assert_string_equal(cli_clean(buf, sizeof(buf), cases[i].text), cases[i].clean);
}

static void clean_text_is_cut_between_characters(void **state)
{
	char buf[5];

	(void)state;
	assert_string_equal(cli_clean(buf, sizeof(buf), "abc\xc3\xbc"), "abc");
	assert_string_equal(cli_clean(buf, sizeof(buf), "ab\xc3\xbc"), "ab\xc3\xbc");
}

/* What `fill` prints, as one string to be freed. */
static char *printed(void (*fill)(const struct cli_out *o), bool colour)
{
	char *text = NULL;
	size_t len = 0;
	struct cli_out o = { open_memstream(&text, &len), colour };

	fill(&o);
	fclose(o.file);
	return text;
}

static void fill_table(const struct cli_out *o)
{
	static const struct cli_column columns[] = {
		{ "NAME", false }, { "SHARE", true }, { "EMPTY", false }, { "NOTE", false }
	};
	struct cli_table *t = cli_table_new(columns, 4);

	cli_table_cell(t, STYLE_BOLD, "v1");
	cli_table_cell(t, STYLE_PLAIN, "%.2f %%", 97.5);
	cli_table_cell(t, STYLE_PLAIN, "%s", "");
	cli_table_cell(t, STYLE_PLAIN, "%s", "");
	cli_table_cell(t, STYLE_PLAIN, "a-long-name");
	cli_table_cell(t, STYLE_PLAIN, "2.50 %%");
	cli_table_cell(t, STYLE_PLAIN, "%s", "");
	cli_table_cell(t, STYLE_BAD, "b\xc3\xb6se\033[0m");
	cli_table_print(t, o, 2);
	cli_table_free(t);
}

static void tables_fit_their_contents(void **state)
{
	char *text = printed(fill_table, false);

	(void)state;
	assert_string_equal(text, "  NAME           SHARE  NOTE\n"
				  "  v1           97.50 %\n"
				  "  a-long-name   2.50 %  b\xc3\xb6se?[0m\n");
	free(text);
}

static void colour_does_not_change_the_layout(void **state)
{
	char *text = printed(fill_table, true), *plain = printed(fill_table, false);
	char bare[512];
	size_t n = 0;

	(void)state;
	assert_non_null(strstr(text, "\033[31mb"));
	for (char *s = text; *s; s++) {
		if (*s == '\033')
			s = strchr(s, 'm');
		else
			bare[n++] = *s;
	}
	bare[n] = '\0';
	assert_string_equal(bare, plain);
	free(text);
	free(plain);
}

static void fill_nothing(const struct cli_out *o)
{
	static const struct cli_column columns[] = { { "NAME", false } };
	struct cli_table *t = cli_table_new(columns, 1);

	cli_table_print(t, o, 0);
	cli_table_free(t);
	cli_table_cell(NULL, STYLE_PLAIN, "out of memory");
	cli_table_print(NULL, o, 0);
	cli_table_free(NULL);
}

static void a_table_without_rows_prints_nothing(void **state)
{
	char *text = printed(fill_nothing, false);

	(void)state;
	assert_string_equal(text, "");
	free(text);
}

static void fields_that_are_not_there_read_as_nothing(void **state)
{
	struct json_object *o = json_tokener_parse(
		"{\"a\":{\"b\":[1,{\"c\":\"x\"}],\"n\":null},\"t\":\"12\",\"d\":2.5,\"f\":true}");
	char buf[FIELD_TEXT_LEN];

	(void)state;
	assert_string_equal(field_text(o, "t"), "12");
	assert_string_equal(field_text(field_item(field_at(o, "a.b"), 1), "c"), "x");
	assert_int_equal(field_len(field_at(o, "a.b")), 2);
	assert_true(field_flag(o, "f"));
	assert_string_equal(field_percent(buf, o, "d"), "2.50 %");
	assert_string_equal(field_percent(buf, o, "a.n"), "-");

	assert_string_equal(field_text(o, "a.x.y"), "");
	assert_string_equal(field_text(o, "a.n"), "");
	assert_string_equal(field_text(o, "f"), "");
	assert_string_equal(field_text(NULL, "f"), "");
	assert_int_equal(field_count(o, "t"), 0);
	assert_int_equal(field_count(o, "a"), 0);
	assert_false(field_flag(o, "t"));
	assert_null(field_at(o, "t.x"));
	assert_null(field_item(field_at(o, "a.b"), 2));
	assert_int_equal(field_len(o), 0);
	json_object_put(o);
}

static void spans_of_time_are_short(void **state)
{
	static const struct {
		uint64_t ms;
		const char *text;
	} cases[] = { { 0, "0s" },         { 250, "250ms" },      { 59999, "59s" },
		      { 72000, "1m 12s" }, { 7980000, "2h 13m" }, { 90000000, "1d 1h" } };
	char buf[FIELD_TEXT_LEN];

	(void)state;
	for (size_t i = 0; i < N(cases); i++)
		assert_string_equal(field_span(buf, cases[i].ms), cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options_may_stand_anywhere),
		cmocka_unit_test(two_dashes_end_the_options),
		cmocka_unit_test(backends_are_kept_in_order),
		cmocka_unit_test(a_wrong_option_is_refused_with_the_reason),
		cmocka_unit_test(distance_counts_edits),
		cmocka_unit_test(the_nearest_word_is_named_only_if_it_is_near),
		cmocka_unit_test(the_argument_text_says_how_many_words),
		cmocka_unit_test(durations_need_a_unit),
		cmocka_unit_test(percentages_have_two_decimals_at_most),
		cmocka_unit_test(a_backend_is_address_port_and_weight),
		cmocka_unit_test(text_from_outside_cannot_steer_the_terminal),
		cmocka_unit_test(clean_text_is_cut_between_characters),
		cmocka_unit_test(tables_fit_their_contents),
		cmocka_unit_test(colour_does_not_change_the_layout),
		cmocka_unit_test(a_table_without_rows_prints_nothing),
		cmocka_unit_test(fields_that_are_not_there_read_as_nothing),
		cmocka_unit_test(spans_of_time_are_short),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
