#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Shipping a version: a good one arrives, a bad one is taken back in time, whatever is wrong with
# it; the operator's words work; the agent may die in the middle.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

status_of() { deploy_field "$DEPLOY" status; }
step_of() { deploy_field "$DEPLOY" step; }
is_at_step() { [ "$(status_of)" = rolling ] && [ "$(step_of)" = "$1" ]; }

# load: 200 new connections a second until unload; $RUN/new.log has a line for each.
load() {
	rm -f "$RUN/new.log"
	conns_bg new --target "$VIP4" --rate 200 --concurrency 300 --timeout 3000 --log "$RUN/new.log"
	conns_pid=$SPAWNED
	sleep 0.2
}
unload() { stop "$conns_pid"; }

back_to_v1() {
	local i

	for i in 4 5; do tell "$i" mode ok; tell "$i" health ok; done
	wait_for 5 health_is web 10.20.0.14:8080 healthy
	wait_for 5 health_is web 10.20.0.15:8080 healthy
	api /api/v1/services/web/versions/v1/switch -X POST -o /dev/null
}

strategy() { # STEPS [SAMPLES] [LEASE]
	config v6=0 steps="$1" samples="${2:-5}" lease="${3:-15s}" version=v1:100:1,2,3 version=v2:0:4,5
	api /api/v1/config/reload -f -X POST -o /dev/null
}

healthy_canary_completes() {
	strategy '10:400ms,50:400ms,100:400ms'
	load
	start_deploy web v2 || { fail "a healthy canary starts"; return; }
	check "a healthy canary completes" wait_for 20 deploy_is "$DEPLOY" status completed
	check "its version has all the weight" weight_is web v2 100
	sleep 0.3
	unload
	holds "no connection failed on the way" "$(report new)" '.failed == 0'
	holds "both versions answered on the way" "$(report new)" \
		'.backends["v1-1"] > 0 and .backends["v2-4"] > 0 and .backends["v2-5"] > 0'
	holds "afterwards the new version answers alone" "$(conns --target "$VIP4" --count 300)" \
		'(.backends | keys) == ["v2-4", "v2-5"] and .answered == 300'
	check "a finished deployment is undone" verb "$DEPLOY" rollback
	holds "and the old version answers alone" "$(conns --target "$VIP4" --count 300)" \
		'(.backends | keys) == ["v1-1", "v1-2", "v1-3"] and .answered == 300'
}

# Milliseconds between the first and the last failed connection, and how many there were.
damage() {
	awk '$3 != "answered" { n++; if (!first || $1 < first) first = $1; if ($1 > last) last = $1 }
	     END { printf "%d %d\n", (last - first) / 1000000, n }' "$RUN/new.log"
}

# bad_canary WHAT CONTROL-WORDS...: v2 goes bad while it has 10 %.
bad_canary() {
	local what=$1 ms n i us
	shift

	strategy '10:60s,100:1s'
	load
	start_deploy web v2 || { fail "$what: the canary starts"; unload; return; }
	wait_for 5 is_at_step 1
	sleep 0.7
	for i in 4 5; do tell "$i" "$@"; done
	check "$what: it is rolled back" wait_for 5 deploy_is "$DEPLOY" status rolled_back
	sleep 1
	unload
	read -r ms n < <(damage)
	if [ "$ms" -le 2000 ]; then
		pass "$what: the last failure is within 2 s of the first ($n in $ms ms)"
	else
		fail "$what: the last failure is within 2 s of the first ($n in $ms ms)"
	fi
	us=$(deploy_field "$DEPLOY" rollbackMicroseconds)
	if [ "${us:-0}" -gt 0 ] && [ "$us" -lt 1000 ]; then
		pass "$what: the rollback took less than 1 ms"
	else
		fail "$what: the rollback took less than 1 ms" "it says ${us:-nothing} microseconds"
	fi
	holds "$what: afterwards all is well" "$(conns --target "$VIP4" --count 300)" \
		'(.backends | keys) == ["v1-1", "v1-2", "v1-3"] and .answered == 300'
	note "reason given: $(deploy_field "$DEPLOY" reason)"
	back_to_v1
}

bad_from_the_start() {
	local ms n i

	strategy '5:60s,100:1s'
	for i in 4 5; do tell "$i" mode reset; done
	load
	start_deploy web v2
	check "a version that resets behind a fine health page is rolled back" \
		wait_for 10 deploy_is "$DEPLOY" status rolled_back
	sleep 0.5
	unload
	read -r ms n < <(damage)
	if [ "$ms" -le 2000 ] && [ "$n" -gt 0 ]; then
		pass "and harmed connections for less than 2 s"
	else
		fail "and harmed connections for less than 2 s" "$n in $ms ms"
	fi
	back_to_v1
}

never_healthy() {
	local i

	strategy '10:400ms,100:400ms'
	for i in 4 5; do tell "$i" health 500; done
	wait_for 5 health_is web 10.20.0.14:8080 unhealthy
	wait_for 5 health_is web 10.20.0.15:8080 unhealthy
	load
	start_deploy web v2
	sleep 1.5
	is "a version that is not healthy gets no step" "$(status_of)" testing
	check "and can be aborted" verb "$DEPLOY" abort
	unload
	holds "no connection reached it" "$(report new)" '(.backends | has("v2-4") or has("v2-5")) | not'
	back_to_v1
}

no_traffic_no_progress() {
	strategy '10:300ms,100:300ms' 20
	start_deploy web v2
	sleep 2.5
	is "without traffic a canary does not advance" "$(status_of) $(step_of)" "rolling 1"
	check "abort" verb "$DEPLOY" abort
	is "an aborted deployment says so" "$(status_of)" rolled_back
}

operators_words() {
	local code

	strategy '10:500ms,50:500ms,100:500ms'
	load
	start_deploy web v2
	wait_for 5 is_at_step 1
	check "pause" verb "$DEPLOY" pause
	sleep 2
	is "a paused deployment stays where it is" "$(step_of) $(deploy_field "$DEPLOY" phase)" "1 paused"
	check "a paused deployment keeps its weight" weight_is web v2 10
	code=$(api /api/v1/admin/deployment/start -o /dev/null -w '%{http_code}' \
		-d '{"serviceName":"web","toVersion":"v2","strategy":"canary"}')
	is "a second deployment of the service is refused" "$code" 409
	code=$(api /api/v1/services/web/weights -o /dev/null -w '%{http_code}' -X PUT -d '{"weights":{"v2":33}}')
	is "so are weights set by hand" "$code" 409
	check "resume" verb "$DEPLOY" resume
	check "it goes on" wait_for 10 is_at_step 2
	check "promote" verb "$DEPLOY" promote
	check "promote moves to the next step at once" is_at_step 3
	check "and to the end" wait_for 10 deploy_is "$DEPLOY" status completed
	unload
	holds "no connection failed" "$(report new)" '.failed == 0'
	back_to_v1
	start_deploy web v2
	check "promote to the end" verb "$DEPLOY" complete
	check "it is complete without any traffic" wait_for 3 deploy_is "$DEPLOY" status completed
	check "weights" weight_is web v2 100
	back_to_v1
}

wrong_requests() {
	local code

	code=$(api /api/v1/admin/deployment/start -o "$RUN/answer" -w '%{http_code}' \
		-d '{"serviceName":"web","toVersion":"v9","strategy":"canary"}')
	is "a deployment to a version that is not there is refused" "$code" 404
	matches "with the name in the message" "$(cat "$RUN/answer")" 'v9'
	code=$(api /api/v1/admin/deployment/start -o /dev/null -w '%{http_code}' \
		-d '{"serviceName":"web","toVersion":"v1","fromVersion":"v1","strategy":"canary"}')
	is "a deployment from a version to itself is refused" "$code" 400
	code=$(api /api/v1/admin/deployment/start -o "$RUN/answer" -w '%{http_code}' \
		-d '{"serviceName":"web","toVersion":"v2","stratgy":"canary"}')
	is "an unknown key is refused" "$code" 400
	is "with its place" "$(jq -r .error.pointer "$RUN/answer")" /stratgy
	code=$(api /api/v1/admin/deployment/start -o /dev/null -w '%{http_code}' -d '{"serviceName":')
	is "broken JSON is refused" "$code" 400
	code=$(api /api/v1/admin/deployment/999 -o /dev/null -w '%{http_code}')
	is "a deployment that is not there is 404" "$code" 404
	check "none of that changed a weight" weight_is web v1 100
}

killed_in_the_middle() {
	local id

	strategy '10:700ms,50:700ms,100:700ms'
	load
	start_deploy web v2
	id=$DEPLOY
	wait_for 10 is_at_step 2
	kill_agent
	sleep 0.7
	check "the agent starts again in the middle of a canary" start_agent
	is "it is the same deployment, at the same step" "$(deploy_field web id) $(step_of)" "$id 2"
	check "with the same weight" weight_is web v2 50
	check "and it completes" wait_for 15 deploy_is "$DEPLOY" status completed
	unload
	holds "no connection failed meanwhile" "$(report new)" '.failed == 0'
	back_to_v1
}

lease_runs_out() {
	local report

	strategy '50:60s,100:1s' 5 2s
	start_deploy web v2
	wait_for 5 is_at_step 1
	holds "a canary at 50 % gets connections" "$(conns --target "$VIP4" --count 200)" '.backends["v2-4"] > 20'
	kill_agent
	sleep 2.6
	report=$(conns --target "$VIP4" --count 500)
	holds "without an agent the lease runs out and v1 has every new connection" "$report" \
		'(.backends | keys) == ["v1-1", "v1-2", "v1-3"] and .answered == 500'
	check "the agent returns" start_agent
	holds "and the canary gets connections again" "$(conns --target "$VIP4" --count 200)" '.backends["v2-4"] > 20'
	matches "an event tells of the lease" "$(api /api/v1/events)" '[Ll]ease'
	check "abort" verb "$DEPLOY" abort
	back_to_v1
}

killed_before_the_rollback_is_stored() {
	# A hold that the store does not know is a rollback to finish: abort, and die at once.
	strategy '50:60s,100:1s'
	start_deploy web v2
	wait_for 5 is_at_step 1
	verb "$DEPLOY" abort > /dev/null &
	kill_agent
	wait $!
	check "the agent starts after dying in a rollback" start_agent
	if [ "$(status_of)" = rolling ]; then
		check "the abort did not arrive; it can be repeated" verb "$DEPLOY" abort
	else
		is "the rollback is finished" "$(status_of)" rolled_back
	fi
	holds "v1 has every new connection" "$(conns --target "$VIP4" --count 300)" \
		'(.backends | keys) == ["v1-1", "v1-2", "v1-3"] and .answered == 300'
}

bench_init
topology 5
for i in 1 2 3; do backend "$i" "v1-$i"; done
for i in 4 5; do backend "$i" "v2-$i"; done
config v6=0 version=v1:100:1,2,3 version=v2:0:4,5
must_start "the agent starts"
wrong_requests
healthy_canary_completes
bad_canary "refusing connections" mode refuse
bad_canary "resetting connections" mode reset
bad_canary "resetting at once" mode reset-accept
bad_canary "500 on the health page" health 500
bad_from_the_start
never_healthy
no_traffic_no_progress
operators_words
killed_in_the_middle
lease_runs_out
killed_before_the_rollback_is_stored
done_testing
