/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the API shows: JSON made from the agent's state. Reads everything, changes nothing. Shares
 * are percent with two decimals; a share nobody measured yet is null. Every function returns a new
 * reference; NULL means out of memory (or JSON null, for the small ones).
 */
#ifndef ZDDLB_VIEW_H
#define ZDDLB_VIEW_H

#include <stdint.h>

#include "state.h"

struct json_object;
struct stored_deploy;
struct stored_event;

struct json_object *view_status(struct control *c);
struct json_object *view_service(struct service_rt *s);
struct json_object *view_versions(struct service_rt *s);
struct json_object *view_backends(struct service_rt *s);
struct json_object *view_backend(const struct backend_rt *b);
struct json_object *view_drain(const struct backend_rt *b);
/* { "v1.0": 90.00, ... } as asked for. */
struct json_object *view_weights(const struct service_rt *s);
/* A version with the fields of GatewayServiceVersion. */
struct json_object *view_release(const struct service_rt *s, const struct version_rt *v);

struct json_object *view_deploy(const struct stored_deploy *v);
/* A deployment that is still in the agent's hands, as the store would have it. */
struct stored_deploy view_deploy_record(const struct deploy_rt *d);

struct json_object *view_metrics(struct control *c);
struct json_object *view_event(const struct stored_event *e);

/* The building blocks. */
struct json_object *view_percent(uint64_t part, uint64_t whole); /* NULL (null): whole is 0 */
struct json_object *view_weight(uint32_t weight_bp);
struct json_object *view_time(uint64_t unix_ms); /* ISO 8601, UTC; NULL (null): 0 */
uint64_t view_now_ms(void);                      /* monotonic */

#endif
