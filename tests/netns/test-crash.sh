#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The agent is killed, its disk is full or gone, its config changes while it is away: what was decided
# stays decided, and nothing of a former life leaks into the next one.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

serves() { # NAME
	holds "$1" "$(conns --target "$VIP4" --count 200 --timeout 2000)" '.answered == 200 and .failed == 0'
}
plain() { config v6=0 "$@" version=v1:100:1,2 version=v2:0:3,4; }
reload() { api /api/v1/config/reload -X POST -f -o /dev/null; }
reload_code() { api /api/v1/config/reload -X POST -o "$RUN/answer" -w '%{http_code}'; }
backends_of() { api "/api/v1/services/$1/backends" | jq -r '(.backends? // .)[] | "\(.version) \(.address)"' | sort; }
edit() { jq "$1" "$RUN/zddlb.json" > "$RUN/x" && mv "$RUN/x" "$RUN/zddlb.json"; }
fresh() { stop_agent; unload_agent; rm -rf "$RUN/state"; mkdir "$RUN/state"; }

# While another program holds the database nothing can be written, as that cannot be stored.
lock_store() {
	exec {STORE_LOCK}> >(sqlite3 "$RUN/state/state.db")
	printf '%s\n' '.timeout 3000' 'BEGIN IMMEDIATE;' >&"$STORE_LOCK"
	wait_for 4 store_is_locked
}
store_is_locked() { ! sqlite3 "$RUN/state/state.db" 'BEGIN IMMEDIATE; ROLLBACK'; }
unlock_store() { exec {STORE_LOCK}>&-; sleep 0.2; }

rollback_not_stored() {
	fresh
	plain steps='10:60s,100:60s' lease=60s
	must_start "the agent starts"
	start_deploy web v2
	check "a canary gets its share" wait_for 5 weight_is web v2 10
	lock_store
	verb "$DEPLOY" abort > /dev/null
	check "a rollback is in force that cannot be stored" weight_is web v2 0
	kill_agent
	unlock_store
	must_start "the agent starts after a kill"
	check "the rollback that could not be stored stands" deploy_is "$DEPLOY" status rolled_back
	check "with its weight" weight_is web v2 0
	start_deploy web v2
	check "another canary gets its share" wait_for 5 weight_is web v2 10
	lock_store
	verb "$DEPLOY" abort > /dev/null
	unlock_store
	sleep 1.5
	lock_store
	kill_agent
	unlock_store
	is "and it is stored as soon as it can be" \
		"$(sqlite3 "$RUN/state/state.db" "SELECT status FROM deployment WHERE id = $DEPLOY")" rolled_back
	must_start "the agent starts once more"
	check "and nothing is held" bash -c "[ \"\$(bpftool -j map dump pinned $RUN/bpf/zddlb/maps/services | jq '[.[0].value[8:12][]] | map(select(. != \"0x00\")) | length')\" = 0 ]"
}

endpoint_moves() {
	fresh
	plain
	must_start "the agent starts"
	config v6=0 version=v1:100:1,2,3 version=v2:0:4
	check "a backend moves from one version to another" reload
	check "it is healthy there" wait_for 5 health_is web 10.20.0.13:8080 healthy
	check "its former self is forgotten" wait_for 40 bash -c \
		"! grep -q v2.10.20.0.13 <(curl -sS --unix-socket $RUN/zddlb.sock http://zddlb/api/v1/services/web/backends | jq -r '(.backends? // .)[] | \"\(.version) \(.address)\"')"
	serves "and its replies still find their way"
}

renamed_while_away() {
	fresh
	plain
	must_start "the agent starts"
	stop_agent
	edit '.services[0].name = "shop"'
	check "the agent starts with its service renamed meanwhile" start_agent
	check "and serves it" wait_for 5 has_slots shop 10.20.0.11:8080
	serves "every connection"
}

no_room() {
	local before code

	fresh
	plain
	edit '.dataplane.maxBackends = 6'
	must_start "the agent starts with room for five backends"
	before=$(backends_of web)
	edit '.services[0].versions[0].backends |= map(.port = 8081)'
	code=$(reload_code)
	is "a reload that draining backends leave no room for is refused" "$code" 409
	matches "with its cure" "$(cat "$RUN/answer")" 'maxBackends'
	is "and nothing has changed" "$(backends_of web)" "$before"
	serves "and it serves"
}

reload_not_stored() {
	local before code

	fresh
	plain
	must_start "the agent starts"
	before=$(backends_of web)
	lock_store
	config v6=0 version=v1:100:1,2,3 version=v2:0:4
	code=$(reload_code)
	is "a reload that cannot be stored is refused" "$code" 503
	is "and nothing has changed either" "$(backends_of web)" "$before"
	unlock_store
	check "with space again it is taken" reload
}

stale_override() {
	fresh
	plain
	must_start "the agent starts"
	check "v2 gets a weight" api /api/v1/services/web/weights -f -o /dev/null -X PUT -d '{"weights":{"v2":30}}'
	config v6=0 version=v1:100:1,2
	check "v2 goes" reload
	check "v1 has it all" weight_is web v1 100
	stop_agent
	plain
	check "v2 comes back while the agent is away" start_agent
	check "without the weight of its former life" weight_is web v2 0
}

state_lost() {
	fresh
	plain
	must_start "the agent starts"
	check "v2 gets a weight" api /api/v1/services/web/weights -f -o /dev/null -X PUT -d '{"weights":{"v2":50}}'
	flows stay 200 --target "$VIP4"
	check "connections are there" wait_for 5 flows_alive stay 200
	conns_bg meanwhile --target "$VIP4" --rate 100 --concurrency 50 --timeout 900
	kill_agent
	rm -rf "$RUN/state"
	mkdir "$RUN/state"
	must_start "the agent starts without its state"
	check "with the weights of the file" weight_is web v1 100
	sleep 1.5
	holds "new connections found a backend all the time" "$(report meanwhile)" '.answered > 100 and .failed == 0'
	holds "and no established one was moved" "$(report stay)" '.alive == 200 and .broken == 0'
}

vip_goes() {
	local addrs

	fresh
	plain
	must_start "the agent starts"
	edit '.services[0].vips[0].address = "10.10.0.101"'
	check "the service changes its VIP" reload
	addrs=$(ip -n "$ZD-lb" -br addr show eth0)
	matches "the new one is there" "$addrs" '10\.10\.0\.101/32'
	if grep -q '10\.10\.0\.100/32' <<< "$addrs"; then fail "the old one is gone" "$addrs"; else pass "the old one is gone"; fi
}

undo_of_old() {
	local first

	fresh
	config v6=0 version=v1:100:1 version=v2:0:2 version=v3:0:3
	must_start "the agent starts"
	start_deploy web v2
	first=$DEPLOY
	check "v2 is shipped" api "/api/v1/admin/deployment/$first/complete" -f -X POST -o /dev/null -d '{}'
	check "then v3" api /api/v1/services/web/weights -f -o /dev/null -X PUT -d '{"weights":{"v3":100,"v2":0}}'
	is "a deployment whose version has gone already cannot be undone" \
		"$(api "/api/v1/admin/deployment/$first/rollback" -X POST -d '{}' -o "$RUN/answer" -w '%{http_code}')" 400
	matches "and the answer says so" "$(cat "$RUN/answer")" 'nothing to undo'
}

bench_init
topology 4
for i in 1 2 3 4; do backend "$i" "b$i"; done
for t in ${ONLY:-rollback_not_stored endpoint_moves renamed_while_away no_room reload_not_stored stale_override state_lost vip_goes undo_of_old}; do
	"$t"
done
done_testing
