/* SPDX-License-Identifier: GPL-2.0-only */
/* Routes, and the way of a request through them. See api.h. */
#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "api_call.h"
#include "control.h"
#include "io/config.h"
#include "io/httpd.h"

#define DEPLOYMENT "/api/v1/admin/deployment"
#define SERVICE    "/api/v1/services/:service"
#define BACKEND    "/api/v1/backends/:backend"

const struct route api_routes[] = {
	{ "GET", "/healthz", api_healthz, 0 },
	{ "GET", "/readyz", api_readyz, 0 },
	{ "GET", "/version", api_version, 0 },
	{ "GET", "/api/v1/status", api_status, 0 },
	{ "GET", "/api/v1/metrics", api_metrics, 0 },
	{ "GET", "/api/v1/events", api_events, 0 },

	{ "GET", "/api/v1/config", api_config_get, 0 },
	{ "POST", "/api/v1/config/validate", api_config_validate, ROUTE_RAW },
	{ "POST", "/api/v1/config/reload", api_config_reload, ROUTE_REASON | ROUTE_DRY_RUN },

	{ "GET", "/api/v1/services", api_services, 0 },
	{ "GET", SERVICE, api_service, 0 },
	{ "GET", SERVICE "/weights", api_weights_get, 0 },
	{ "PUT", SERVICE "/weights", api_weights_put, ROUTE_BODY },
	{ "DELETE", SERVICE "/weights", api_weights_reset, ROUTE_REASON },
	{ "GET", SERVICE "/versions", api_versions, 0 },
	{ "POST", SERVICE "/versions", api_version_add, ROUTE_BODY },
	{ "GET", SERVICE "/versions/:version", api_version_show, 0 },
	{ "PATCH", SERVICE "/versions/:version", api_version_patch, ROUTE_BODY },
	{ "DELETE", SERVICE "/versions/:version", api_version_remove, ROUTE_REASON },
	{ "PUT", SERVICE "/versions/:version/weight", api_weight_put, ROUTE_BODY },
	{ "POST", SERVICE "/versions/:version/switch", api_switch, ROUTE_REASON },
	{ "GET", SERVICE "/backends", api_service_backends, 0 },

	{ "GET", "/api/v1/backends", api_backends, 0 },
	{ "GET", BACKEND, api_backend, 0 },
	{ "GET", BACKEND "/drain", api_drain_get, 0 },
	{ "POST", BACKEND "/drain", api_drain, ROUTE_REASON },
	{ "POST", BACKEND "/undrain", api_undrain, ROUTE_REASON },
	{ "POST", BACKEND "/maintenance", api_maintenance, ROUTE_REASON },

	{ "GET", DEPLOYMENT, api_deploys, 0 },
	{ "POST", DEPLOYMENT "/versions", api_release_add, ROUTE_BODY },
	{ "POST", DEPLOYMENT "/start", api_deploy_start, ROUTE_BODY | ROUTE_DRY_RUN },
	{ "GET", DEPLOYMENT "/services/:service/versions", api_releases, 0 },
	{ "PUT", DEPLOYMENT "/services/:service/versions/:version/weight", api_weight_put,
	  ROUTE_BODY },
	{ "POST", DEPLOYMENT "/services/:service/versions/:version/switch", api_switch,
	  ROUTE_REASON },
	{ "GET", DEPLOYMENT "/:id", api_deploy, 0 },
	{ "PUT", DEPLOYMENT "/:id/traffic", api_deploy_traffic, ROUTE_BODY },
	{ "POST", DEPLOYMENT "/:id/rollback", api_deploy_rollback, ROUTE_OPTIONAL },
	{ "POST", DEPLOYMENT "/:id/complete", api_deploy_complete, ROUTE_REASON },
	{ "POST", DEPLOYMENT "/:id/promote", api_deploy_promote, ROUTE_REASON },
	{ "POST", DEPLOYMENT "/:id/pause", api_deploy_pause, ROUTE_REASON },
	{ "POST", DEPLOYMENT "/:id/resume", api_deploy_resume, ROUTE_REASON },
	{ "POST", DEPLOYMENT "/:id/abort", api_deploy_abort, ROUTE_REASON },
};
const size_t api_nroutes = sizeof(api_routes) / sizeof(api_routes[0]);

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool decode(const char *text, size_t len, char *ret, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c == '%') {
			int high = i + 2 < len ? hex_digit(text[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(text[i + 2]) : -1;

			if (low < 0)
				return false;
			c = (unsigned char)(high << 4 | low);
			i += 2;
		}
		/* Names and addresses are ASCII; nothing else has any business in a path. */
		if (c < 0x20 || c > 0x7e || n + 1 >= room)
			return false;
		ret[n++] = (char)c;
	}
	ret[n] = '\0';
	return n > 0;
}

bool api_path_match(const char *pattern, const char *path, struct api_params *ret)
{
	struct api_params params = { 0 };

	while (*pattern && *path) {
		size_t want = strcspn(pattern + 1, "/") + 1;
		size_t have = strcspn(path + 1, "/") + 1;

		if (*path != '/')
			return false;
		if (pattern[1] == ':') {
			if (params.n == API_MAX_PARAMS ||
			    !decode(path + 1, have - 1, params.value[params.n], API_PARAM_LEN))
				return false;
			params.n++;
		} else if (want != have || strncmp(pattern, path, want) != 0) {
			return false;
		}
		pattern += want;
		path += have;
	}
	if (*pattern || *path)
		return false;
	*ret = params;
	return true;
}

/* The one place where an errno of control becomes a status of HTTP. */
static int http_status(int err)
{
	switch (-err) {
	case ENOENT:
		return 404;
	case EINVAL:
		return 400;
	case EMSGSIZE:
		return 413;
	case EBUSY:
	case EEXIST:
		return 409;
	case ESTALE:
		return 412;
	case EIO:
	case ENOSPC:
	case EROFS:
		return 503;
	default:
		return 500;
	}
}

static const char *default_code(int status)
{
	switch (status) {
	case 400:
		return "invalid";
	case 404:
		return "not_found";
	case 409:
		return "conflict";
	case 412:
		return "stale";
	case 503:
		return "unavailable";
	default:
		return "internal";
	}
}

static struct json_object *error_body(const struct diag *d, int status, int err)
{
	struct json_object *o = json_object_new_object();
	struct json_object *e = json_object_new_object();
	const char *text = d->text[0] ? d->text : strerror(abs(err));

	json_object_object_add(e, "code",
			       json_object_new_string(d->code[0] ? d->code : default_code(status)));
	json_object_object_add(e, "message", json_object_new_string(text));
	json_object_object_add(e, "pointer", json_object_new_string(d->pointer));
	json_object_object_add(o, "error", e);
	return o;
}

static void put_json(struct http_reply *rep, int status, struct json_object *take)
{
	const char *text =
		take ? json_object_to_json_string_ext(take, JSON_C_TO_STRING_PLAIN |
								    JSON_C_TO_STRING_NOSLASHESCAPE)
		     : NULL;
	size_t len = text ? strlen(text) : 0;

	rep->status = status;
	rep->content_type = "application/json";
	rep->body = text ? malloc(len + 2) : NULL;
	if (text && rep->body) {
		memcpy(rep->body, text, len);
		memcpy(rep->body + len, "\n", 2);
	} else {
		rep->status = 500;
	}
	json_object_put(take);
}

static void put_error(struct http_reply *rep, int err, const struct diag *d)
{
	int status = http_status(err);

	put_json(rep, status, error_body(d, status, err));
}

/* HEAD asks for what GET would say. */
static bool method_is(const struct route *r, const char *method)
{
	return !strcmp(r->method, method) || (!strcmp(method, "HEAD") && !strcmp(r->method, "GET"));
}

static void method_not_allowed(const struct route *first, struct http_reply *rep)
{
	/* Requests are answered one at a time, and the reply is sent before the next one. */
	static char allow[64];
	struct diag d = { 0 };

	size_t len = 0;

	for (const struct route *r = first; r < api_routes + api_nroutes; r++) {
		if (strcmp(r->path, first->path) != 0)
			continue;
		len += (size_t)snprintf(allow + len, sizeof(allow) - len, "%s%s", len ? ", " : "",
					r->method);
		if (len >= sizeof(allow))
			break;
	}
	rep->allow = allow;
	diag_set(&d, EINVAL, "method_not_allowed", "", "This path knows only %s.", allow);
	put_json(rep, 405, error_body(&d, 405, EINVAL));
}

/* The path decides first: a known path with another method is 405, not 404. */
static const struct route *find_route(const struct http_request *req, struct api_params *params,
				      const struct route **ret_path)
{
	*ret_path = NULL;
	for (const struct route *r = api_routes; r < api_routes + api_nroutes; r++) {
		if (*ret_path ? strcmp(r->path, (*ret_path)->path) != 0
			      : !api_path_match(r->path, req->path, params))
			continue;
		if (!*ret_path)
			*ret_path = r;
		if (method_is(r, req->method))
			return r;
	}
	return NULL;
}

static int take_body(struct api_call *call, const struct route *r)
{
	static const char *const reason_only[] = { "reason", NULL };
	const struct http_request *req = call->req;
	const char *reason;
	int err;

	if (r->flags & ROUTE_RAW)
		return 0;
	if (!req->body_len && !(r->flags & ROUTE_BODY))
		return 0;
	if (!(r->flags & (ROUTE_BODY | ROUTE_REASON | ROUTE_OPTIONAL)))
		return diag_set(&call->diag, EINVAL, "unexpected_body", "",
				"This request takes no body: send none.");

	err = config_json(&call->body, req->body, req->body_len, "body", &call->diag);
	if (err)
		return err;
	if (!json_object_is_type(call->body, json_type_object))
		return diag_set(&call->diag, EINVAL, "wrong_type", "",
				"The body must be a JSON object.");
	if (r->flags & ROUTE_REASON)
		err = api_known_keys(call->body, "", reason_only, &call->diag);
	return err ? err : api_text(call->body, "reason", false, &reason, &call->diag);
}

/* ?dryRun and If-Match: refused where they would be ignored, for ignoring them does harm. */
static int take_conditions(struct api_call *call, const struct route *r)
{
	const char *dry = http_query(call->req, "dryRun");
	const char *match = http_header(call->req, "If-Match");
	unsigned long long revision;

	if (dry && strcmp(dry, "true") != 0 && strcmp(dry, "false") != 0)
		return diag_set(&call->diag, EINVAL, "invalid_query", "",
				"dryRun is \"%.20s\": give true or false.", dry);
	call->dry_run = dry && !strcmp(dry, "true");
	if (call->dry_run && !(r->flags & ROUTE_DRY_RUN))
		return diag_set(&call->diag, EINVAL, "dry_run_unsupported", "",
				"This request has no dry run. Nothing was done.");

	if (!match || !strcmp(r->method, "GET") || !strcmp(match, "*"))
		return 0;
	if (sscanf(match, *match == '"' ? "\"%llu" : "%llu", &revision) != 1)
		return diag_set(&call->diag, EINVAL, "invalid_header", "",
				"If-Match is no revision: give the number that status shows.");
	if (revision != call->control->revision)
		return diag_set(&call->diag, ESTALE, "stale", "",
				"The revision is %llu, not %llu: look again before you write.",
				(unsigned long long)call->control->revision, revision);
	return 0;
}

void api_handle(void *control, const struct http_request *req, struct http_reply *rep)
{
	struct api_call call = { .control = control, .req = req, .status = 200 };
	const struct route *r, *path;
	int err;

	r = find_route(req, &call.params, &path);
	if (!path) {
		err = diag_set(&call.diag, ENOENT, "no_such_path", "", "The API has no such path.");
		put_error(rep, err, &call.diag);
		return;
	}
	if (!r) {
		method_not_allowed(path, rep);
		return;
	}

	err = take_conditions(&call, r);
	if (!err)
		err = take_body(&call, r);
	if (!err)
		err = r->run(&call);
	if (err)
		put_error(rep, err, &call.diag);
	else
		put_json(rep, call.status, json_object_get(call.out));
	json_object_put(call.out);
	json_object_put(call.body);
}
