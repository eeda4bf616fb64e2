/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlb metrics: what the kernel and the agent counted. */
#include "cli.h"

#include <string.h>

#include <json-c/json.h>

#include "cli_field.h"

static void print_agent(const struct cli *cli, struct json_object *m)
{
	double cpu =
		field_number(m, "agent.cpuUserSeconds") + field_number(m, "agent.cpuSystemSeconds");
	double up = field_number(m, "agent.uptimeMilliseconds") / 1000;
	char span[FIELD_TEXT_LEN];

	cli_put(&cli->out, STYLE_BOLD, "agent");
	cli_put(&cli->out, STYLE_PLAIN, "  up %s, %.1f MB resident, %.2f s CPU (%.2f %%)\n",
		field_span(span, field_count(m, "agent.uptimeMilliseconds")),
		field_number(m, "agent.residentBytes") / 1e6, cpu, up > 0 ? 100 * cpu / up : 0);
	cli_put(&cli->out, STYLE_BOLD, "pins");
	cli_put(&cli->out, STYLE_PLAIN, "   %llu living of %llu\n",
		(unsigned long long)field_count(m, "pins.living"),
		(unsigned long long)field_count(m, "pins.capacity"));
}

static void print_events(const struct cli *cli, struct json_object *events)
{
	static const struct cli_column columns[] = { { "PACKETS", false }, { "COUNT", true } };
	struct cli_table *t = cli_table_new(columns, 2);

	if (!json_object_is_type(events, json_type_object))
		return;
	json_object_object_foreach (events, name, value) {
		uint64_t n = json_object_get_uint64(value);
		bool drop = !strncmp(name, "drop_", 5);

		/* Reasons to drop that never occurred are noise, unless one wants to see all. */
		if (!n && !cli->wide)
			continue;
		cli_table_cell(t, drop && n ? STYLE_WARN : STYLE_PLAIN, "%s", name);
		cli_table_cell(t, STYLE_PLAIN, "%llu", (unsigned long long)n);
	}
	cli_table_print(t, &cli->out, 0);
	cli_table_free(t);
}

static const struct {
	const char *title, *path;
	bool wide;
} counters[] = {
	{ "CONNECTIONS", "counters.connections", false },
	{ "ANSWERED", "counters.answered", true },
	{ "REFUSED", "counters.refused", false },
	{ "UNANSWERED", "counters.unanswered", false },
	{ "EARLY RESETS", "counters.early_resets", false },
	{ "SYN AGAIN", "counters.syn_retransmits", true },
	{ "SERVER RESETS", "counters.server_resets", true },
	{ "CLIENT RESETS", "counters.client_resets", true },
	{ "PACKETS IN", "counters.request_packets", false },
	{ "BYTES IN", "counters.request_bytes", true },
	{ "PACKETS OUT", "counters.reply_packets", false },
	{ "BYTES OUT", "counters.reply_bytes", true },
	{ "PINS", "pins", false },
	{ "CHECKS", "probes.checks", true },
	{ "CHECKS FAILED", "probes.failures", false },
};
#define NCOUNTERS (sizeof(counters) / sizeof(*counters))

static void print_services(const struct cli *cli, struct json_object *services)
{
	struct cli_column columns[NCOUNTERS + 3] = { { "SERVICE", false },
						     { "VERSION", false },
						     { "BACKEND", false } };
	struct cli_table *t;

	for (size_t k = 0; k < NCOUNTERS; k++)
		columns[k + 3] = (struct cli_column){ counters[k].title, true };
	t = cli_table_new(columns, NCOUNTERS + 3);
	for (size_t i = 0; i < field_len(services); i++) {
		struct json_object *s = field_item(services, i), *list = field_at(s, "backends");

		for (size_t j = 0; j < field_len(list); j++) {
			struct json_object *b = field_item(list, j);

			cli_table_cell(t, STYLE_BOLD, "%s", field_text(s, "name"));
			cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "version"));
			cli_table_cell(t, STYLE_PLAIN, "%s", field_text(b, "address"));
			for (size_t k = 0; k < NCOUNTERS; k++) {
				if (counters[k].wide && !cli->wide)
					cli_table_cell(t, STYLE_PLAIN, "%s", "");
				else
					cli_table_cell(t, STYLE_PLAIN, "%llu",
						       (unsigned long long)field_count(
							       b, counters[k].path));
			}
		}
	}
	cli_table_print(t, &cli->out, 0);
	cli_table_free(t);
}

int cmd_metrics(struct cli *cli)
{
	struct json_object *m = NULL;
	int code = cli_get(cli, &m, "/api/v1/metrics");

	if (code)
		return code;
	if (cli->json) {
		cli_print_json(cli, m);
	} else {
		print_agent(cli, m);
		cli_put(&cli->out, STYLE_PLAIN, "\n");
		print_events(cli, field_at(m, "events"));
		cli_put(&cli->out, STYLE_PLAIN, "\n");
		print_services(cli, field_at(m, "services"));
	}
	json_object_put(m);
	return CLI_OK;
}
