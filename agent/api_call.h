/* SPDX-License-Identifier: GPL-2.0-only */
/* What a handler of the API gets and gives, and the checks on bodies that handlers share. */
#ifndef ZDDLB_API_CALL_H
#define ZDDLB_API_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api.h"
#include "core/diag.h"

struct control;
struct http_request;
struct json_object;
struct service_rt;
struct version_rt;

struct api_call {
	struct control *control;
	const struct http_request *req;
	struct api_params params;
	struct json_object *body; /* an object, or NULL */
	bool dry_run;

	struct json_object *out; /* the answer; the caller puts it */
	int status;              /* of success; 200 unless set */
	struct diag diag;        /* of failure */
};

#define ROUTE_BODY     (1u << 0) /* needs a JSON object */
#define ROUTE_OPTIONAL (1u << 1) /* takes one, or nothing */
#define ROUTE_REASON   (1u << 2) /* takes one with nothing but "reason", or nothing */
#define ROUTE_RAW      (1u << 3) /* the handler reads the body itself */
#define ROUTE_DRY_RUN  (1u << 4) /* knows ?dryRun=true */

/* Complain about the first key of `j` that is not in the NULL-terminated list. */
int api_known_keys(const struct json_object *j, const char *pointer, const char *const *keys,
		   struct diag *d);
/* Text under `key`; *ret stays as it is if there is none and it is not required. */
int api_text(const struct json_object *j, const char *key, bool required, const char **ret,
	     struct diag *d);
int api_name(const struct json_object *j, const char *key, bool required, const char **ret,
	     struct diag *d);
/* "reason" of the body, or NULL. */
const char *api_reason(const struct api_call *call);

/* A number in the query; *ret stays as it is without one. */
int api_query_number(struct api_call *call, const char *name, uint64_t max, uint64_t *ret);

int api_find_service(struct api_call *call, const char *name, struct service_rt **ret);
int api_find_version(struct api_call *call, struct service_rt *s, const char *name,
		     struct version_rt **ret);
int api_oom(struct api_call *call);
/* The answer is this; NULL means that memory ran out. */
int api_answer(struct api_call *call, struct json_object *out);

/* api_state.c */
int api_status(struct api_call *call);
int api_metrics(struct api_call *call);
int api_events(struct api_call *call);
int api_config_get(struct api_call *call);
int api_config_validate(struct api_call *call);
int api_config_reload(struct api_call *call);
int api_healthz(struct api_call *call);
int api_readyz(struct api_call *call);
int api_version(struct api_call *call);

/* api_objects.c */
int api_services(struct api_call *call);
int api_service(struct api_call *call);
int api_versions(struct api_call *call);
int api_version_add(struct api_call *call);
int api_version_show(struct api_call *call);
int api_version_patch(struct api_call *call);
int api_version_remove(struct api_call *call);
int api_weight_put(struct api_call *call);
int api_weights_get(struct api_call *call);
int api_weights_put(struct api_call *call);
int api_weights_reset(struct api_call *call);
int api_switch(struct api_call *call);
int api_service_backends(struct api_call *call);
int api_backends(struct api_call *call);
int api_backend(struct api_call *call);
int api_drain_get(struct api_call *call);
int api_drain(struct api_call *call);
int api_undrain(struct api_call *call);
int api_maintenance(struct api_call *call);

/* api_deploy.c */
int api_release_add(struct api_call *call);
int api_releases(struct api_call *call);
int api_deploy_start(struct api_call *call);
int api_deploys(struct api_call *call);
int api_deploy(struct api_call *call);
int api_deploy_traffic(struct api_call *call);
int api_deploy_rollback(struct api_call *call);
int api_deploy_complete(struct api_call *call);
int api_deploy_promote(struct api_call *call);
int api_deploy_pause(struct api_call *call);
int api_deploy_resume(struct api_call *call);
int api_deploy_abort(struct api_call *call);

#endif
