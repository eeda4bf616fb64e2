/* SPDX-License-Identifier: GPL-2.0-only */
/* zddlbd: options, signals, and the wiring of control, API and loop. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <zddlb/version.h>

#include "api.h"
#include "control_internal.h"
#include "io/config.h"
#include "io/httpd.h"
#include "io/log.h"
#include "io/maps.h"
#include "io/notify.h"
#include "io/store.h"

#define DEFAULT_CONFIG "/etc/zddlb/zddlb.json"

enum exit_code { EXIT_OK = 0, EXIT_ERROR = 1, EXIT_USAGE = 2 };

struct daemon {
	uv_loop_t loop;
	uv_signal_t term, interrupt, hangup;
	struct control *control;
	struct httpd *httpd;
};

static int complain(const struct diag *d)
{
	fprintf(stderr, "zddlbd: %s%s%s\n", d->pointer, d->pointer[0] ? ": " : "", d->text);
	return EXIT_ERROR;
}

static void on_stop(uv_signal_t *s, int signum)
{
	struct daemon *z = s->data;

	log_info("stopping signal=%d", signum);
	notify_state("STOPPING=1");
	httpd_close(z->httpd);
	control_stop(z->control);
	uv_close((uv_handle_t *)&z->term, NULL);
	uv_close((uv_handle_t *)&z->interrupt, NULL);
	uv_close((uv_handle_t *)&z->hangup, NULL);
}

static void on_reload(uv_signal_t *s, int signum)
{
	struct daemon *z = s->data;
	struct diag d = { 0 };

	(void)signum;
	if (control_reload(z->control, false, NULL, &d) < 0)
		log_error("reload refused, nothing changed: %s: %s", d.pointer, d.text);
}

static void watch_signal(struct daemon *z, uv_signal_t *s, int signum, uv_signal_cb fn)
{
	uv_signal_init(&z->loop, s);
	s->data = z;
	uv_signal_start(s, fn, signum);
}

/* Probes and API connections take descriptors: use what the machine allows. */
static void raise_limits(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static int run(const char *config)
{
	static struct daemon z;
	struct diag d = { 0 };
	const struct admin_config *admin;

	raise_limits();
	signal(SIGPIPE, SIG_IGN);
	uv_loop_init(&z.loop);
	if (control_start(&z.control, &z.loop, config, &d) < 0)
		return complain(&d);
	admin = &z.control->model->admin;
	if (httpd_open(&z.httpd, &z.loop, admin->socket, admin->tcp ? &admin->listen : NULL,
		       api_handle, z.control, &d) < 0) {
		control_stop(z.control);
		uv_run(&z.loop, UV_RUN_DEFAULT);
		return complain(&d);
	}
	watch_signal(&z, &z.term, SIGTERM, on_stop);
	watch_signal(&z, &z.interrupt, SIGINT, on_stop);
	watch_signal(&z, &z.hangup, SIGHUP, on_reload);
	notify_state("READY=1");
	uv_run(&z.loop, UV_RUN_DEFAULT);
	uv_loop_close(&z.loop);
	return EXIT_OK;
}

/*
 * Load this binary's program over the pinned maps and put it in the place of the running one; the
 * agent that runs keeps working, and may be restarted at leisure.
 */
static int upgrade(const char *config)
{
	struct model *m = NULL;
	struct maps *maps = NULL;
	struct maps_options o = { 0 };
	struct diag d = { 0 };

	if (config_load(&m, config, &d) < 0)
		return complain(&d);
	o.pin_dir = m->state.pin_dir;
	o.max_services = m->dataplane.max_services;
	o.max_backends = m->dataplane.max_backends;
	o.max_slots = m->dataplane.max_slots;
	o.max_pins = m->dataplane.max_flows;
	o.idle_ms = m->dataplane.tcp_established_ms;
	o.syn_ms = m->dataplane.tcp_syn_ms;
	o.fin_ms = m->dataplane.tcp_fin_ms;
	o.udp_ms = m->dataplane.udp_ms;
	o.replace = true;
	if (maps_pinned_seed(o.pin_dir, o.hash_seed) < 0)
		diag_set(&d, ENOENT, "nothing_pinned", "",
			 "Nothing is pinned under %s, so there is nothing to upgrade: `zddlbd run` "
			 "sets the data plane up.",
			 o.pin_dir);
	else if (maps_open(&maps, &o, &d) == 0)
		printf("the data plane runs the program of zddlbd %s\n", ZDDLB_VERSION);
	if (maps)
		maps_close(maps);
	model_free(m);
	return d.text[0] ? complain(&d) : EXIT_OK;
}

static int unload(const char *config)
{
	struct model *m = NULL;
	struct store *lock = NULL;
	struct diag d = { 0 };
	int err = config_load(&m, config, &d);

	/* An agent that runs would go on storing into maps that nobody reads any more. */
	if (!err)
		err = store_open(&lock, m->state.dir, &d);
	if (err == -EBUSY || !m) {
		model_free(m);
		return complain(&d);
	}
	err = maps_unload(m->state.pin_dir, &d);
	if (lock)
		store_close(lock);
	model_free(m);
	if (err)
		return complain(&d);
	printf("unloaded: packets go to the kernel's own stack again\n");
	return EXIT_OK;
}

static int check(const char *config)
{
	struct model *m = NULL;
	struct diag d = { 0 };

	if (config_load(&m, config, &d) < 0)
		return complain(&d);
	printf("%s: %zu services, %zu interfaces, no error\n", config, m->nservices,
	       m->ninterfaces);
	model_free(m);
	return EXIT_OK;
}

static const struct command {
	const char *name, *help;
	int (*run)(const char *config);
} commands[] = {
	{ "run", "Run the agent. The data plane stays when it ends.", run },
	{ "upgrade", "Replace the running program by this binary's; connections stay.", upgrade },
	{ "unload", "Remove program and maps: balancing ends.", unload },
	{ "check", "Check the config file and say what is wrong with it.", check },
};
#define NCOMMANDS (sizeof(commands) / sizeof(commands[0]))

static int usage(FILE *out, int code)
{
	fprintf(out, "Usage: zddlbd COMMAND [--config FILE] [--verbose]\n\nCommands:\n");
	for (size_t i = 0; i < NCOMMANDS; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\nOptions:\n"
		     "  -c, --config FILE  default " DEFAULT_CONFIG "\n"
		     "  -v, --verbose      log debug messages as well\n"
		     "  -V, --version      print the version\n"
		     "  -h, --help         print this\n\n"
		     "Signals: HUP reloads the config, TERM and INT end the agent.\n");
	return code;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	const char *config = DEFAULT_CONFIG;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:vVh", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			config = optarg;
			break;
		case 'v':
			log_set_level(LOG_DEBUG_LEVEL);
			break;
		case 'V':
			printf("zddlbd %s\n", ZDDLB_VERSION);
			return EXIT_OK;
		case 'h':
			return usage(stdout, EXIT_OK);
		default:
			return usage(stderr, EXIT_USAGE);
		}
	}
	if (optind + 1 != argc)
		return usage(stderr, EXIT_USAGE);
	for (size_t i = 0; i < NCOMMANDS; i++) {
		if (!strcmp(argv[optind], commands[i].name))
			return commands[i].run(config);
	}
	fprintf(stderr, "zddlbd: there is no command \"%s\"\n", argv[optind]);
	return usage(stderr, EXIT_USAGE);
}
