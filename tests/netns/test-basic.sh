#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Balancing as such, over IPv4 and IPv6, in every attach mode: shares, counters, whole bytes, and
# what is none of our business passes.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

names=([1]=v1-a [2]=v1-b [3]=v2-a [4]=v2-b [5]=v3-a)

drops() { api /api/v1/metrics | jq -c '.events | with_entries(select((.key | startswith("drop_")) and .value > 0))'; }

connections_of() { # SERVICE
	api "/api/v1/services/$1/backends" | jq -c '[(.backends? // .)[] | {(.address): .connections}] | add'
}

# Every backend's counter must have grown by exactly what the clients say it answered.
counters_agree() { # NAME BEFORE AFTER REPORT PREFIX
	local i grown answered bad=''

	for i in 1 2 3 4 5; do
		grown=$(jq -n --argjson a "$2" --argjson b "$3" --arg k "$5$((10 + i))${5:+}" \
			'[$b, $a] | map(to_entries | map(select(.key | contains($k))) | .[0].value // 0) | .[0] - .[1]')
		answered=$(jq --arg n "${names[i]}" '.backends[$n] // 0' <<< "$4")
		[ "$grown" = "$answered" ] || bad+="${names[i]}: counter $grown, clients $answered; "
	done
	is "$1" "$bad" ""
}

balance() { # MODE FAMILY TARGET COUNT SERVICE PREFIX
	local mode=$1 family=$2 n=$4 before after report

	before=$(connections_of "$5")
	report=$(conns --target "$3" --count "$n" --concurrency 32)
	after=$(connections_of "$5")
	holds "$mode $family: all of $n connections are answered" "$report" ".answered == $n and .failed == 0"
	share_is "$mode $family: v1-a has its share" "$(counts "$report" v1-a)" "$n" 20
	share_is "$mode $family: v1-b, twice its weight, has its share" "$(counts "$report" v1-b)" "$n" 40
	share_is "$mode $family: v2-a has its share" "$(counts "$report" v2-a)" "$n" 19.995
	share_is "$mode $family: v2-b has its share" "$(counts "$report" v2-b)" "$n" 19.995
	share_is "$mode $family: v3 has no more than its 0.01 %" "$(counts "$report" v3)" "$n" 0.01
	counters_agree "$mode $family: the counters agree with the clients" "$before" "$after" "$report" "$6"
}

not_ours_passes() { # MODE
	local report

	check "$1: ping to the balancer's own address passes" in_ns client ping -q -c 2 -i 0.2 -W 1 10.10.0.1
	check "$1: ping to the balancer's own IPv6 address passes" in_ns client ping -6 -q -c 2 -i 0.2 -W 1 fd10::1
	check "$1: ping to a backend is routed" in_ns client ping -q -c 2 -i 0.2 -W 1 10.20.0.11
	check "$1: echo to a VIP is answered" in_ns client ping -q -c 2 -i 0.2 -W 1 10.10.0.100
	check "$1: echo to an IPv6 VIP is answered" in_ns client ping -6 -q -c 2 -i 0.2 -W 1 fd10::100
	report=$(conns --target 10.10.0.1:2222 --count 100)
	holds "$1: TCP to the balancer's own server passes" "$report" '.backends["own"] == 100'
	report=$(conns --target 10.10.0.100:81 --count 5 --timeout 1000)
	holds "$1: a port of the VIP without a service is refused" "$report" '.refused == 5'
}

bytes_are_whole() { # MODE URL-HOST
	local got

	got=$(in_ns client curl -sS --max-time 10 "http://$2/big" | md5sum)
	is "$1 $2: 3 MB come down whole" "$got" "$big_sum"
	got=$(in_ns client curl -sS --max-time 10 -D - -o /dev/null -H 'Expect:' \
		--data-binary "@$RUN/big" "http://$2/up" | tr -d '\r' | awk '/^X-File:/ { print $2 }')
	is "$1 $2: 3 MB go up whole" "$(md5sum < "${got:-/dev/null}")" "$big_sum"
}

run_mode() {
	local mode=$1 problem

	config xdp="$mode" ring=65536 version=v1:60:1,2*2 version=v2:39.99:3,4 version=v3:0.01:5
	must_start "$mode: the agent starts"
	problem=$(api /api/v1/status | jq -r '[.interfaces[] | .mode] | unique | join(" ")')
	is "$mode: both interfaces are attached in that mode" "$problem" "$mode"
	balance "$mode" IPv4 "$VIP4" "$2" web 10.20.0.
	balance "$mode" IPv6 "$VIP6" 10000 web6 fd20::
	not_ours_passes "$mode"
	is "$mode: nothing was dropped" "$(drops)" "{}"

	config xdp="$mode" ring=65536 version=v1:100:6
	check "$mode: a reload to another set of backends is taken" api /api/v1/config/reload -f -X POST
	check "$mode: IPv4 goes to the new backend" wait_for 5 has_slots web 10.20.0.16:8080
	check "$mode: IPv6 too" wait_for 5 has_slots web6 '[fd20::16]:8080'
	bytes_are_whole "$mode" 10.10.0.100
	bytes_are_whole "$mode" '[fd10::100]'
	is "$mode: nothing was dropped on bulk transfers" "$(drops)" "{}"
}

rare_version_gets_traffic() {
	local report i

	config xdp=native ring=65536 v6=0 version=v1:99.99:1,2 version=v3:0.01:5
	check "reload to 0.01 %" api /api/v1/config/reload -f -X POST
	for i in 11 12 15; do wait_for 5 has_slots web "10.20.0.$i:8080"; done
	report=$(conns --target "$VIP4" --count 100000 --concurrency 32)
	holds "all of 100,000 connections are answered" "$report" '.answered == 100000'
	holds "a version with 0.01 % gets traffic" "$report" '.backends["v3-a"] > 0'
	share_is "and no more than that" "$(counts "$report" v3)" 100000 0.01
	share_is "the others share the rest" "$(counts "$report" v1-a)" 100000 49.995
}

offload_works_in_tc() {
	local i report

	for i in 1 2 3 4 5 6; do in_ns "be$i" ethtool -K eth0 tx on tso on >/dev/null; done
	in_ns client ethtool -K eth0 tx on tso on >/dev/null
	report=$(conns --target "$VIP4" --count 500)
	holds "tc with checksum offload and TSO at the ends: connections are answered" "$report" '.answered == 500'
	bytes_are_whole "tc with offload" 10.10.0.100
	bytes_are_whole "tc with offload" '[fd10::100]'
}

bench_init
topology 6
for i in 1 2 3 4 5; do backend "$i" "${names[i]}"; done
head -c 3000000 /dev/urandom > "$RUN/big"
big_sum=$(md5sum < "$RUN/big")
nginx_backend 6 v1-n
spawn own.log lb "$HELPERS/backend" --name own --listen 10.10.0.1:2222

run_mode native 10000
rare_version_gets_traffic
for mode in generic tc; do
	stop_agent
	check "unload before $mode" unload_agent
	run_mode "$mode" 10000
done
offload_works_in_tc
done_testing
