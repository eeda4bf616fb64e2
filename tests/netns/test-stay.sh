#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Connections stay: 2,000 long-lived ones, under load of new ones, through everything an operator
# does and through the death of the agent. Not one may be moved or reset, in any attach mode.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

FLOWS=2000

unbroken() { # WHAT
	local r

	r=$(report stay)
	if jq -e ".alive == $FLOWS and .broken == 0 and .moved == 0" <<< "$r" >/dev/null; then
		pass "$mode: $1: $FLOWS connections stay, 0 moved, 0 reset"
	else
		fail "$mode: $1: $FLOWS connections stay, 0 moved, 0 reset" "$r"
	fi
}

canary_completes() {
	start_deploy web v2 && start_deploy_6=$DEPLOY && start_deploy web6 v2
	wait_for 30 deploy_is "$DEPLOY" status completed
	wait_for 10 deploy_is "$start_deploy_6" status completed
	is "$mode: the canaries complete" \
		"$(deploy_field "$DEPLOY" status) $(deploy_field "$start_deploy_6" status)" "completed completed"
	unbroken "canary and promotion"
}

rollback_of_the_finished() {
	check "$mode: web is taken back to v1" verb "$start_deploy_6" rollback
	check "$mode: web6 is taken back to v1" verb "$DEPLOY" rollback
	check "$mode: v1 has everything again" wait_for 5 weight_is web v1 100
	sleep 1.2
	unbroken "rollback"
}

abort_half_way() {
	start_deploy web v2
	check "$mode: a canary is promoted step by step" verb "$DEPLOY" promote
	sleep 0.7
	check "$mode: the running canary is aborted" verb "$DEPLOY" abort
	check "$mode: v1 has everything after the abort" wait_for 5 weight_is web v1 100
	sleep 1.2
	unbroken "abort of a running canary"
}

drain_and_back() {
	check "$mode: a backend is drained" api '/api/v1/backends/10.20.0.11:8080/drain' -f -X POST
	check "$mode: its IPv6 side is drained" api '/api/v1/backends/web6%2F%5Bfd20::11%5D:8080/drain' -f -X POST
	sleep 1.5
	unbroken "drain"
	check "$mode: it is undrained" api '/api/v1/backends/10.20.0.11:8080/undrain' -f -X POST
	check "$mode: its IPv6 side is undrained" api '/api/v1/backends/web6%2F%5Bfd20::11%5D:8080/undrain' -f -X POST
}

reload_with_other_weights() {
	config "${options[@]}" version=v1:70:1,2*3,3 version=v2:30:4,5
	kill -HUP "$AGENT"
	check "$mode: SIGHUP reloads" wait_for 5 weight_is web v2 30
	sleep 1.2
	unbroken "reload"
}

settled_and_changed_again() {
	check "$mode: the ring settles after the idle timeout" wait_for 30 settled
	unbroken "settling"
	check "$mode: all to v2 at once" api /api/v1/services/web/versions/v2/switch -f -X POST
	check "$mode: IPv6 too" api /api/v1/services/web6/versions/v2/switch -f -X POST
	sleep 1.2
	unbroken "a switch of settled slots"
}
# What remains are the slots that must consult the pins of connections that outlived a change.
settled() { [ "$(api /api/v1/metrics | jq '[.services[].unsettledSlots] | add')" -le "$FLOWS" ]; }

death_and_return() {
	local before

	before=$(report new | jq .answered)
	kill_agent
	sleep 2
	unbroken "kill -9 of the agent"
	holds "$mode: new connections are served without an agent" "$(report new)" ".answered > $before + 100"
	check "$mode: the agent starts again" start_agent
	sleep 1.2
	unbroken "restart of the agent"
	check "$mode: it still knows the weights" weight_is web v2 100
}

upgrade_in_place() {
	check "$mode: zddlbd upgrade" upgrade_agent
	sleep 1.2
	unbroken "upgrade"
}

run_mode() {
	mode=$1
	options=(xdp="$mode" established=6s syn=5s fin=5s samples=3 steps='1:500ms,10:500ms,50:500ms,100:500ms')
	config "${options[@]}" version=v1:100:1,2,3 version=v2:0:4,5
	must_start "$mode: the agent starts"
	flows stay "$FLOWS" --target "$VIP4" --target "$VIP6" --interval 500 --ramp 2500
	flows_pid=$SPAWNED
	conns_bg new --target "$VIP4" --rate 300 --concurrency 200
	conns_pid=$SPAWNED
	conns_bg new6 --target "$VIP6" --rate 300 --concurrency 200
	conns6_pid=$SPAWNED
	wait_for 10 flows_alive stay "$FLOWS"
	unbroken "opening"

	canary_completes
	rollback_of_the_finished
	abort_half_way
	drain_and_back
	reload_with_other_weights
	settled_and_changed_again
	death_and_return
	upgrade_in_place

	stop "$flows_pid"
	stop "$conns_pid"
	stop "$conns6_pid"
	unbroken "the end"
	holds "$mode: no new connection failed meanwhile" "$(report new)" '.failed == 0 and .answered > 2000'
	holds "$mode: no new IPv6 connection failed meanwhile" "$(report new6)" '.failed == 0 and .answered > 2000'
	stop_agent
	check "$mode: unload" unload_agent
	rm -rf "$RUN/state"
}

bench_init
topology 5
for i in 1 2 3; do backend "$i" "v1-$i"; done
for i in 4 5; do backend "$i" "v2-$i"; done
for m in native generic tc; do run_mode "$m"; done
done_testing
