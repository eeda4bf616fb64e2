#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Every forwarding mode with real servers, TCP and UDP, IPv4 and IPv6 in every combination that a
# mode allows: nat through the balancer; dsr, ipip and gue with answers that go straight to the client.
#
#   client eth0 --- balancer --- switch --- backend 1 (v1), 2 (v2), 3 (nginx)
#          eth1 -------------------'        VIPs of dsr, ipip and gue on lo, a tun for what is tunnelled
#
# This kernel may have no tunnel devices, so what is tunnelled is taken out once by our own program for
# backends (zd_decap), and once by untunnel, which shares no code with it. The kernel's own devices are
# tried in vmtest.
set -u
# shellcheck source=tests/netns/lib.sh
. "$(dirname "$0")/lib.sh"

DIRECT4=(10.10.0.101 10.10.0.102 10.10.0.103 10.10.0.104 10.10.0.105)
DIRECT6=(fd10::101 fd10::102 fd10::103 fd10::104 fd10::105)
BIG=10000000
# A new UDP flow must not have the addresses and ports of one that is not forgotten yet.
FIRST=(--source 10.10.0.2 --source 10.10.0.3 --source 10.10.0.4 --source fd10::2)
LASTING=(--source 10.10.0.5 --source 10.10.0.6 --source 10.10.0.7 --source fd10::3)
LATE=(--source 10.10.0.8 --source 10.10.0.9 --source fd10::4)

# The VIP must be the backend's own, and nobody may hear of that.
hold_vips() { # I
	local vip

	ctl "be$1" net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
	for vip in "${DIRECT4[@]}"; do addr "be$1" lo "$vip/32"; done
	for vip in "${DIRECT6[@]}"; do addr "be$1" lo "$vip/128"; done
}

# Tunnelled packets come in by tun0, and out goes what the routes say. GRO would merge what is inside
# and leave checksums to be made by hardware, which only the kernel's own tunnels could take.
untunnel() { # I
	in_ns "be$1" ethtool -K eth0 gro off
	spawn "untunnel$1.out" "be$1" "$HELPERS/untunnel" tun0
	UNTUNNEL[$1]=$SPAWNED
	wait_for 3 ip -n "$ZD-be$1" link show tun0
	ip -n "$ZD-be$1" link set tun0 up mtu 9000
	ctl "be$1" net.ipv4.conf.tun0.rp_filter=0
}
declare -a UNTUNNEL=()

# decap_map I NAME: the id of one of its maps. (bpftool cannot pin maps where a path has dots.)
decap_map() {
	local id

	for id in $(bpftool -j prog show pinned "$RUN/bpf/decap$1" | jq '.map_ids[]'); do
		[ "$(bpftool -j map show id "$id" | jq -r .name)" != "$2" ] || echo "$id"
	done
}

# Keys of its map of local addresses are 16 bytes, IPv4 v4-mapped: 10.20.0.(10+I) and fd20::(10+I).
decap() { # I
	local zeros='00 00 00 00 00 00 00 00 00 00' locals

	bpftool prog load "$BUILD/bpf/decap.bpf.o" "$RUN/bpf/decap$1" || return
	locals=$(decap_map "$1" decap_locals)
	# shellcheck disable=SC2086 # bytes
	bpftool map update id "$locals" key hex $zeros ff ff 0a 14 00 \
		"$(printf %02x $((10 + $1)))" value hex 01 00 00 00 &&
		bpftool map update id "$locals" key hex fd 20 $zeros 00 00 00 \
			"$((10 + $1))" value hex 01 00 00 00 &&
		in_ns "be$1" bpftool net attach xdp pinned "$RUN/bpf/decap$1" dev eth0
}
stop_decap() { # I
	in_ns "be$1" bpftool net detach xdp dev eth0
	rm -f "$RUN/bpf/decap$1"
}
# In the order of enum zd_decap_counter.
decap_counters() { # I
	bpftool -j map dump id "$(decap_map "$1" decap_counters)" |
		jq -c '[.[].formatted | [.values[].value] | add]'
}

# Answers need a way of their own: the balancer would not forward packets from its own addresses.
answers_go_straight() {
	local i

	link client eth1 switch c0
	ip -n "$ZD-switch" link set c0 master br0
	addr client eth1 10.20.0.2/24
	addr client eth1 fd20::2/64
	addr client eth0 fd10::4/64
	ctl client net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0
	for i in 1 2 3; do
		ip -n "$ZD-be$i" route add 10.10.0.0/24 via 10.20.0.2
		ip -n "$ZD-be$i" route add fd10::/64 via fd20::2
		hold_vips "$i"
	done
	# The answers of mode nat come from 10.20.0.1x, and go back through the balancer as before.
	for i in 1 2 3; do
		ip -n "$ZD-be$i" rule add from "10.20.0.$((10 + i))" table 100
		ip -n "$ZD-be$i" route add default via 10.20.0.1 table 100
		ip -n "$ZD-be$i" -6 rule add from "fd20::$((10 + i))" table 100
		ip -n "$ZD-be$i" -6 route add default via fd20::1 table 100
	done
}

# Room for the outer headers: what is too big for the way is another suite's business.
room_for_tunnels() {
	local i

	ip -n "$ZD-lb" link set eth1 mtu 1600
	for i in uplink p1 p2 p3 br0; do ip -n "$ZD-switch" link set "$i" mtu 1600; done
	for i in 1 2 3; do
		ip -n "$ZD-be$i" link set eth0 mtu 1600
		# What goes straight to the client must fit there.
		ip -n "$ZD-be$i" route change 10.10.0.0/24 via 10.20.0.2 mtu 1500
		ip -n "$ZD-be$i" route change fd10::/64 via fd20::2 mtu 1500
	done
}

# One service's JSON. Without a BACKENDPORT its backends have the VIP's.
one_service() { # NAME MODE VIP PORT PREFIX BACKENDPORT PROTOCOLS VERSION:WEIGHT:I...
	local name=$1 mode=$2 vip=$3 port=$4 prefix=$5 bport=$6 protocols=$7 p v comma=''
	local version weight i
	shift 7

	printf '{"name":"%s","mode":"%s","vips":[' "$name" "$mode"
	for p in $protocols; do
		printf '%s{"address":"%s","port":%s,"protocol":"%s"}' "$comma" "$vip" "$port" "$p"
		comma=,
	done
	printf '],"versions":['
	comma=''
	for v; do
		IFS=: read -r version weight i <<< "$v"
		printf '%s{"version":"%s","weight":%s,"backends":[{"address":"%s%d"%s}]}' "$comma" \
			"$version" "$weight" "$prefix" "$((10 + i))" "${bport:+,\"port\":$bport}"
		comma=,
	done
	printf ']}'
}

# Services of all modes. VIPs ending in 1: dsr, 2: ipip, 3: gue, of the VIP's family; 4 and 5: ipip
# and gue to backends of the other one. Port 8080 goes to backends 1 and 2, port 8081 to nginx.
all_services() { # WEIGHT1 WEIGHT2
	local pair="v1:$1:1 v2:$2:2" row name mode last out4 out6 list=''

	# shellcheck disable=SC2086 # two words
	list+=$(one_service nat4 nat 10.10.0.100 53 10.20.0. 8080 "tcp udp" $pair),
	# shellcheck disable=SC2086
	list+=$(one_service nat6 nat fd10::100 53 fd20:: 8080 "tcp udp" $pair),
	list+=$(one_service natbig4 nat 10.10.0.100 8081 10.20.0. 8081 tcp v1:100:3),
	list+=$(one_service natbig6 nat fd10::100 8081 fd20:: 8081 tcp v1:100:3)
	for row in "dsr 1 10.20.0. fd20::" "ipip 2 10.20.0. fd20::" "gue 3 10.20.0. fd20::" \
		"ipip 4 fd20:: 10.20.0." "gue 5 fd20:: 10.20.0."; do
		read -r mode last out4 out6 <<< "$row"
		name=$mode
		[ "$last" -lt 4 ] || name=${mode}x
		# shellcheck disable=SC2086
		list+=,$(one_service "${name}4" "$mode" "10.10.0.10$last" 8080 "$out4" '' "tcp udp" $pair)
		# shellcheck disable=SC2086
		list+=,$(one_service "${name}6" "$mode" "fd10::10$last" 8080 "$out6" '' "tcp udp" $pair)
		list+=,$(one_service "${name}big4" "$mode" "10.10.0.10$last" 8081 "$out4" '' tcp v1:100:3)
		list+=,$(one_service "${name}big6" "$mode" "fd10::10$last" 8081 "$out6" '' tcp v1:100:3)
	done
	echo "$list"
}

drops() { api /api/v1/metrics | jq -c '.events | with_entries(select((.key | startswith("drop_")) and .value > 0))'; }

all_have_slots() {
	api /api/v1/status | jq -e '[.services[].backends[] | select(.wantedSlots == 0 or .wantedSlots != .programmedSlots)] == []'
}

served() { # WHAT TARGET
	local report

	report=$(conns --target "$2" --count 2000 --concurrency 32)
	holds "$1: all of 2,000 connections are answered" "$report" '.answered == 2000 and .failed == 0'
	share_is "$1: v1 has its half" "$(counts "$report" v1)" 2000 50
	report=$(udp_ask "${FIRST[@]}" --target "$2" --flows 1000 --rounds 3 --interval 100)
	holds "$1: 1,000 UDP flows get every answer, unchanged, each from one server" "$report" \
		'.asked == 3000 and .answered == 3000 and .moved == 0 and .changed == 0 and .errors == 0'
	share_is "$1: v1 has half of the UDP flows" "$(jq '.servers["v1-1"] // 0' <<< "$report")" 1000 50
}

udp_ask() { in_ns client "$HELPERS/udp" "$@"; }

whole() { # WHAT URL-HOST:PORT
	local got

	got=$(in_ns client curl -sS --max-time 20 "http://$2/big" | md5sum)
	is "$1: 10 MB come down whole" "$got" "$big_sum"
	got=$(in_ns client curl -sS --max-time 20 -D - -o /dev/null -H 'Expect:' \
		--data-binary "@$RUN/big" "http://$2/up" | tr -d '\r' | awk '/^X-File:/ { print $2 }')
	is "$1: 10 MB go up whole" "$(md5sum < "${got:-/dev/null}")" "$big_sum"
	[ -z "$got" ] || rm -f "$got"
}

every_mode() { # HOOK
	local row name last

	served "$1 nat IPv4" 10.10.0.100:53
	served "$1 nat IPv6" '[fd10::100]:53'
	whole "$1 nat IPv4" 10.10.0.100:8081
	whole "$1 nat IPv6" '[fd10::100]:8081'
	for row in "dsr 1" "ipip 2" "gue 3" "ipip-to-the-other-family 4" "gue-to-the-other-family 5"; do
		read -r name last <<< "$row"
		served "$1 $name IPv4" "10.10.0.10$last:8080"
		served "$1 $name IPv6" "[fd10::10$last]:8080"
		whole "$1 $name IPv4" "10.10.0.10$last:8081"
		whole "$1 $name IPv6" "[fd10::10$last]:8081"
	done
	is "$1: nothing was dropped" "$(drops)" "{}"
}

# Long-lived UDP flows through a canary, by hand as a service without handshakes wants it.
udp_canary() { # HOOK SERVICE TARGET
	local what="$1 $2" report answer

	rm -f "$RUN/$2.status"
	spawn "$2.out" client "$HELPERS/udp" "${LASTING[@]}" --target "$3" \
		--flows 300 --interval 300 --status "$RUN/$2.status"
	local pid=$SPAWNED
	wait_for 5 udp_answered "$2" 600
	holds "$what: 300 UDP flows are on v1" "$(report "$2")" '.servers == { "v1-1": 300 }'
	flows "tcp-$2" 300 --target "$3" --interval 300 --ramp 1000
	local tcp_pid=$SPAWNED
	wait_for 5 flows_alive "tcp-$2" 300

	answer=$(api /api/v1/admin/deployment/start \
		-d "{\"serviceName\":\"$2\",\"toVersion\":\"v2\",\"strategy\":\"canary\"}")
	DEPLOY=$(jq -r '.id // .deployment.id' <<< "$answer")
	if [ "${2%[46]}" = nat ]; then
		# There is TCP in it, whose handshakes are seen: new connections let it pass.
		conns_bg "new-$2" --target "$3" --rate 300 --concurrency 100
		local new_pid=$SPAWNED
		wait_for 30 deploy_is "$DEPLOY" status completed
		is "$what: a canary with TCP beside UDP is judged and completes" "$(deploy_field "$DEPLOY" status)" completed
		stop "$new_pid"
	else
		matches "$what: the answer to the start says that nothing is judged" "$answer" 'no step is judged'
		promote_by_hand "$what"
	fi
	report=$(udp_ask "${LATE[@]}" --target "$3" --flows 500 --rounds 1)
	holds "$what: new UDP flows go to v2" "$report" '.answered == 500 and .servers == { "v2-2": 500 }'
	sleep 0.7
	holds "$what: 300 UDP flows stayed through the canary" "$(report "$2")" \
		'.moved == 0 and .changed == 0 and .errors == 0 and .servers == { "v1-1": 300 } and .asked - .answered <= 300'

	check "$what: v1 is drained" api "/api/v1/backends/$(backend_of "$2")/drain" -f -X POST
	check "$what: its UDP flows select anew" wait_for 5 on_v2_alone "$2"
	holds "$what: its TCP connections stay" "$(report "tcp-$2")" '.alive == 300 and .moved == 0 and .broken == 0'
	stop "$pid"
	stop "$tcp_pid"
}

udp_answered() { [ "$(jq .answered "$RUN/$1.status" 2>/dev/null || echo 0)" -ge "$2" ]; }
on_v2_alone() { jq -e '.servers["v2-2"] == 300 and .servers["v1-1"] == 0' "$RUN/$1.status"; }
backend_of() { api "/api/v1/services/$1/backends" | jq '(.backends? // .)[] | select(.version == "v1") | .id'; }

promote_by_hand() { # WHAT
	local step

	for step in 1 2 3 4; do
		if ! wait_for 5 is_held "$step"; then
			fail "$1: step $step is held" "$(deploy "$DEPLOY")"
			return
		fi
		verb "$DEPLOY" promote >/dev/null
	done
	wait_for 3 deploy_is "$DEPLOY" status completed
	is "$1: promoted step by step, it completes" "$(deploy_field "$DEPLOY" status)" completed
}
is_held() { deploy_field "$DEPLOY" reason | grep -q "step $1 cannot be judged"; }

unreachable_is_told() {
	local rows

	ip -n "$ZD-lb" route add 10.99.0.0/24 via 10.20.0.11
	config xdp=native services="$(one_service far dsr 10.10.0.101 8080 10.99.0. '' tcp v1:100:1),$(
		one_service near dsr 10.10.0.102 8080 10.20.0. '' tcp v1:100:1)" file="$RUN/zddlb.json"
	check "a dsr backend behind a gateway is no error of the config" api /api/v1/config/reload -f -X POST
	wait_for 5 has_slots near 10.20.0.11:8080
	rows=$(api /api/v1/status | jq -c '[.services[].backends[] | select(.removed | not) | {address, effectiveWeight, problem: .nextHop.problem}]')
	matches "but status says what is wrong with it, and the cure" "$rows" \
		'10\.99\.0\.11:8080","effectiveWeight":0,"problem":"it is behind a gateway.*use mode'
	matches "and nothing of the one on the link" "$rows" '10\.20\.0\.11:8080","effectiveWeight":1,"problem":null'
	ip -n "$ZD-lb" route del 10.99.0.0/24
}

refusals() {
	local answer

	config xdp=native services="$(one_service near ipip 10.10.0.102 8080 10.20.0. '' tcp v1:100:1)"
	answer=$(api /api/v1/config/reload -X POST)
	matches "another mode is refused in a running service" "$answer" 'is of mode dsr.*Make a new service'
}

# The API's versions know no more of ports than the file's.
a_registered_version_has_the_vips_port() {
	check "a version is registered without a port" api /api/v1/admin/deployment/versions -f \
		-d '{"serviceName":"near","version":"v9","backends":[{"address":"10.20.0.12"}]}'
	is "its backend has the VIP's" "$(registered)" 10.20.0.12:8080
	matches "a port of its own is refused" "$(api /api/v1/admin/deployment/versions \
		-d '{"serviceName":"near","version":"v10","url":"http://10.20.0.13:8081"}')" 'mode dsr does not change the port'
	stop_agent
	check "the agent starts again" start_agent
	is "and the version is still there" "$(registered)" 10.20.0.12:8080
}
registered() { api /api/v1/services/near/backends | jq -r '(.backends? // .)[] | select(.version == "v9") | .address'; }

run_hook() { # HOOK
	config xdp="$1" services="$(all_services 50 50)" steps='1:500ms,10:500ms,50:500ms,100:500ms' samples=3
	must_start "$1: the agent starts with every mode"
	check "$1: every backend has its slots" wait_for 10 all_have_slots
	every_mode "$1"

	config xdp="$1" services="$(all_services 100 0)" steps='1:500ms,10:500ms,50:500ms,100:500ms' samples=3
	check "$1: all weight to v1" api /api/v1/config/reload -f -X POST
	udp_canary "$1" nat4 10.10.0.100:53
	udp_canary "$1" dsr6 '[fd10::101]:8080'
	udp_canary "$1" gue4 10.10.0.103:8080
}

bench_init
topology 3
answers_go_straight
room_for_tunnels
for i in 1 2; do
	backend "$i" "v$i-$i"
	spawn "udp$i.log" "be$i" "$HELPERS/udp" --listen '[::]:8080' --name "v$i-$i"
done
head -c "$BIG" /dev/urandom > "$RUN/big"
big_sum=$(md5sum < "$RUN/big")
nginx_backend 3 v1-n ok 8081

for i in 1 2 3; do
	check "backend $i: our program takes tunnels off" decap "$i"
done
run_hook native
for i in 1 2 3; do
	holds "backend $i: it took out both kinds, and found nothing wrong" "$(decap_counters "$i")" \
		'.[0] > 1000 and .[1] > 1000 and .[4] == 0 and .[5] == 0 and .[6] == 0'
done
unreachable_is_told
a_registered_version_has_the_vips_port
refusals
stop_agent
check "unload before tc" unload_agent
rm -rf "$RUN/state"

for i in 1 2 3; do
	stop_decap "$i"
	check "backend $i: untunnel takes tunnels off" untunnel "$i"
done
run_hook tc
for i in 1 2 3; do
	stop "${UNTUNNEL[i]}"
	holds "backend $i: every outer header was right" "$(cat "$RUN/untunnel$i.out")" '.wrong == 0 and .ipip > 1000 and .gue > 1000'
done
done_testing
