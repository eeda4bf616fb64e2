# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2034 # the suites use its variables
# The bench of the netns suites and of the demo: namespaces, servers, the agent, TAP.
#
#   client eth0 ---- eth0 balancer eth1 ---- switch (bridge) ---- eth0 backend 1..N
#   10.10.0.2..9          10.10.0.1   10.20.0.1                10.20.0.(10+i)
#   fd10::2               fd10::1     fd20::1                  fd20::(10+i)
#
# The VIPs are 10.10.0.100:80 (service web) and [fd10::100]:80 (service web6), added by the agent.
# Everything a suite makes lives in namespaces named $ZD-* or under $RUN, and both are gone when it
# ends, however it ends.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
BUILD=${BUILD:-$here/build}
[ "${BUILD#/}" != "$BUILD" ] || BUILD=$here/$BUILD
HELPERS=$BUILD/tests/netns
PATH=$PATH:/usr/sbin:/sbin
ZD=zd$$
RUN=
VIP4=10.10.0.100:80
VIP6='[fd10::100]:80'
AGENT=
SOURCES=()
for i in 2 3 4 5 6 7 8 9; do SOURCES+=(--source "10.10.0.$i"); done
SOURCES6=(--source fd10::2 --source fd10::3)

# TAP

tap_count=0
tap_failed=0

pass() { tap_count=$((tap_count + 1)); echo "ok $tap_count - $1"; }
fail() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $1"
	[ $# -lt 2 ] || printf '%s\n' "${@:2}" | sed 's/^/# /'
}
skip() { tap_count=$((tap_count + 1)); echo "ok $tap_count - $1 # SKIP $2"; }
note() { printf '%s\n' "$@" | sed 's/^/# /'; }

# is NAME GOT WANTED
is() {
	if [ "$2" = "$3" ]; then
		pass "$1"
	else
		fail "$1" "got:    $2" "wanted: $3"
	fi
}

# check NAME COMMAND...: it succeeds; its output is shown if not. It runs in this shell, not in a
# child, since it may set variables.
check() {
	local name=$1
	shift
	if "$@" > "$RUN/check.out" 2>&1; then
		pass "$name"
	else
		fail "$name" "command: $*" "output: $(cat "$RUN/check.out")"
	fi
}

# matches NAME TEXT REGEX
matches() {
	if grep -qE -- "$3" <<< "$2"; then
		pass "$1"
	else
		fail "$1" "got: $2" "wanted a match of: $3"
	fi
}

# holds NAME JSON FILTER: a jq expression that must be true.
holds() {
	if jq -e "$3" <<< "$2" >/dev/null 2>&1; then
		pass "$1"
	else
		fail "$1" "wanted: $3" "of: $2"
	fi
}

done_testing() {
	if [ "$tap_failed" -gt 0 ] && [ -s "$RUN/agent.log" ]; then
		note "the agent's log:"
		tail -n 60 "$RUN/agent.log" | sed 's/^/#   /'
	fi
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
}

# Waiting: always with a deadline, looking every 50 ms.

now_ms() { local t=${EPOCHREALTIME/[.,]/}; echo $((t / 1000)); }

# wait_for SECONDS COMMAND...
wait_for() {
	local deadline=$(($(now_ms) + $1 * 1000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(now_ms)" -lt "$deadline" ] || return 1
		sleep 0.05
	done
}

# Namespaces

ns_path() { echo "/run/netns/$ZD-$1"; }
in_ns() { local ns=$1; shift; nsenter --net="/run/netns/$ZD-$ns" "$@"; }

# spawn LOG NS COMMAND...: in the background, its output in $RUN/LOG; the pid is in $SPAWNED.
spawn() {
	local log=$1 ns=$2
	shift 2
	nsenter --net="/run/netns/$ZD-$ns" "$@" >> "$RUN/$log" 2>&1 &
	SPAWNED=$!
}

# stop PID [SIGNAL]: waits for it, so that its output is whole.
stop() {
	kill "-${2:-TERM}" "$1" 2>/dev/null
	wait "$1" 2>/dev/null
	return 0
}

our_namespaces() { ip netns list 2>/dev/null | awk -v p="$ZD-" 'index($1, p) == 1 { print $1 }'; }
our_pids() { local n; for n in $(our_namespaces); do ip netns pids "$n" 2>/dev/null; done | grep -vx "$$"; }

cleanup() {
	local status=$? n pids

	trap '' INT TERM HUP
	trap - EXIT
	pids=$(our_pids)
	# shellcheck disable=SC2086 # a list of pids
	if [ -n "$pids" ]; then
		kill -CONT $pids 2>/dev/null
		kill -TERM $pids 2>/dev/null
		for _ in 1 2 3 4 5 6 7 8 9 10; do
			pids=$(our_pids)
			[ -n "$pids" ] || break
			sleep 0.05
		done
		[ -z "$pids" ] || kill -KILL $pids 2>/dev/null
	fi
	for n in $(jobs -p); do kill -KILL "$n" 2>/dev/null; done
	wait 2>/dev/null
	for n in $(our_namespaces); do ip netns del "$n"; done
	if [ -n "$RUN" ]; then
		while read -r n; do
			umount "$n" 2>/dev/null || umount -l "$n"
		done < <(awk -v p="$RUN/" 'index($2, p) == 1 { print $2 }' /proc/mounts | sort -r)
		rm -rf "$RUN"
	fi
	# `ip netns add` mounts /run/netns on itself and never takes that back.
	if [ -n "$netns_mount_is_ours" ] && [ -z "$(ls -A /run/netns 2>/dev/null)" ]; then
		umount /run/netns 2>/dev/null
	fi
	exit "$status"
}

netns_mount_is_ours=

# Say loudly why nothing can be tested here, rather than skip.
require_bpf() {
	if [ "$(id -u)" -ne 0 ]; then
		echo "this needs root: namespaces, BPF and XDP" >&2
		return 1
	fi
	if ! mount -t bpf bpf "$RUN/bpf" || ! bpftool map create "$RUN/bpf/try" type array key 4 \
		value 4 entries 1 name try >/dev/null 2>&1; then
		echo "BPF cannot be used on this machine (bpf() fails): the root suites need the VM, see vmtest/" >&2
		return 1
	fi
	rm -f "$RUN/bpf/try"
}

bench_init() {
	trap cleanup EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	trap 'exit 129' HUP
	RUN=$(mktemp -d "${TMPDIR:-/tmp}/zddlb.XXXXXX") || exit 1
	chmod 755 "$RUN"
	mkdir "$RUN/bpf" "$RUN/state"
	require_bpf || exit 1
	mountpoint -q /run/netns || netns_mount_is_ours=1
	ulimit -n "$(ulimit -Hn)"
}

# link NS IF PEERNS PEERIF: a veth pair. Frames redirected by XDP reach a veth only if its peer runs
# NAPI (gro on), and a local socket's checksums must be whole before a native XDP program sees them.
link() {
	ip -n "$ZD-$1" link add "$2" type veth peer name "$4" netns "$ZD-$3"
	ip -n "$ZD-$1" link set "$2" up
	ip -n "$ZD-$3" link set "$4" up
	for end in "$1 $2" "$3 $4"; do
		# shellcheck disable=SC2086 # two words
		set -- $end
		in_ns "$1" ethtool -K "$2" gro on >/dev/null
		[ "${TX_OFFLOAD:-off}" = on ] || in_ns "$1" ethtool -K "$2" tx off >/dev/null
	done
}

addr() {
	case $3 in
	*:*) ip -n "$ZD-$1" addr add "$3" dev "$2" nodad ;;
	*) ip -n "$ZD-$1" addr add "$3" dev "$2" ;;
	esac
}
ctl() { local ns=$1; shift; in_ns "$ns" sysctl -qw "$@"; }

namespace() {
	ip netns add "$ZD-$1" || {
		echo "no network namespace can be made here (a chroot must be a mount of its own: mount --bind DIR DIR)" >&2
		exit 1
	}
	ip -n "$ZD-$1" link set lo up
	# Without duplicate address detection a link works at once instead of after two seconds.
	ctl "$1" net.ipv6.conf.default.accept_ra=0 net.ipv6.conf.default.router_solicitations=0 \
		net.ipv6.conf.default.accept_dad=0
}

# topology N: one client, the balancer and N backends.
topology() {
	local n=$1 i

	namespace client
	namespace lb
	namespace switch
	link client eth0 lb eth0
	link lb eth1 switch uplink
	ip -n "$ZD-switch" link add br0 type bridge forward_delay 0 mcast_snooping 0
	ip -n "$ZD-switch" link set br0 up
	ip -n "$ZD-switch" link set uplink master br0
	for i in 2 3 4 5 6 7 8 9; do addr client eth0 "10.10.0.$i/24"; done
	addr client eth0 fd10::2/64
	addr client eth0 fd10::3/64
	addr lb eth0 10.10.0.1/24
	addr lb eth0 fd10::1/64
	addr lb eth1 10.20.0.1/24
	addr lb eth1 fd20::1/64
	ip -n "$ZD-client" route add default via 10.10.0.1
	ip -n "$ZD-client" route add default via fd10::1
	ctl client net.ipv4.ip_local_port_range='1024 65535' net.ipv4.tcp_tw_reuse=1
	# The VIPs that the agent adds meet an interface with detection on, as on a real host.
	ctl lb net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv6.conf.eth0.accept_dad=1
	for i in $(seq 1 "$n"); do add_backend_ns "$i"; done
	[ "${NEIGHBOURS:-learnt}" = learnt ] || static_neighbours "$n"
}

add_backend_ns() {
	local i=$1

	namespace "be$i"
	link "be$i" eth0 switch "p$i"
	ip -n "$ZD-switch" link set "p$i" master br0
	addr "be$i" eth0 "10.20.0.$((10 + i))/24"
	addr "be$i" eth0 "fd20::$((10 + i))/64"
	ip -n "$ZD-be$i" route add default via 10.20.0.1
	ip -n "$ZD-be$i" route add default via fd20::1
	ctl "be$i" net.core.somaxconn=4096 net.ipv4.tcp_max_syn_backlog=8192
}

mac_of() { ip -n "$ZD-$1" -j link show "$2" | jq -r '.[0].address'; }

static_neighbours() {
	local i
	for i in $(seq 1 "$1"); do
		ip -n "$ZD-lb" neigh replace "10.20.0.$((10 + i))" dev eth1 nud permanent \
			lladdr "$(mac_of "be$i" eth0)"
		ip -n "$ZD-lb" neigh replace "fd20::$((10 + i))" dev eth1 nud permanent \
			lladdr "$(mac_of "be$i" eth0)"
	done
}

# Servers

# backend I NAME: the test server, both families, port 8080. Its pid is in ${BACKEND[I]}.
declare -a BACKEND=()
backend() {
	spawn "backend$1.log" "be$1" "$HELPERS/backend" --name "$2" --listen '[::]:8080' \
		--control "$RUN/be$1.ctl" --health-path /health
	BACKEND[$1]=$SPAWNED
	wait_for 3 test -p "$RUN/be$1.ctl"
}

# tell I WORDS...: "mode reset", "health 500"
tell() { local i=$1; shift; echo "$*" > "$RUN/be$i.ctl"; }

# nginx_backend I NAME [ok|reset|500] [PORT]: real nginx, answers "NAME COUNT"; health is always fine.
nginx_backend() {
	local i=$1 name=$2 port=${4:-8080} answer

	case "${3:-ok}" in
	ok) answer="return 200 \"$name \$connection_requests\\n\";" ;;
	reset) answer="return 444;" ;;
	500) answer="return 500;" ;;
	esac
	mkdir -p "$RUN/nginx$i"
	cat > "$RUN/nginx$i/nginx.conf" <<-NGINX
	daemon off;
	user root;
	worker_processes 1;
	worker_rlimit_nofile 20000;
	pid $RUN/nginx$i/pid;
	error_log $RUN/nginx$i/error.log;
	events { worker_connections 10000; multi_accept on; }
	http {
		access_log off;
		default_type text/plain;
		keepalive_timeout 300s;
		keepalive_requests 1000000;
		reset_timedout_connection on;
		client_max_body_size 16m;
		client_body_temp_path $RUN/nginx$i/body;
		proxy_temp_path $RUN/nginx$i/proxy;
		fastcgi_temp_path $RUN/nginx$i/fastcgi;
		uwsgi_temp_path $RUN/nginx$i/uwsgi;
		scgi_temp_path $RUN/nginx$i/scgi;
		server {
			listen $port backlog=4096;
			listen [::]:$port backlog=4096;
			location = /health { return 200 "ok\\n"; }
			location = /big { alias $RUN/big; }
			location = /up {
				client_body_in_file_only on;
				add_header X-File \$request_body_file;
				proxy_pass http://127.0.0.1:$port/health;
			}
			location / { $answer }
		}
	}
	NGINX
	spawn "nginx$i/log" "be$i" nginx -p "$RUN/nginx$i" -c "$RUN/nginx$i/nginx.conf" \
		-e "$RUN/nginx$i/error.log"
	BACKEND[i]=$SPAWNED
}

# The agent

# One version's JSON: "NAME:WEIGHT:I[*W],I..." with addresses under $1 ("10.20.0." or "fd20::").
version_json() {
	local prefix=$1 name weight list item i w comma=''

	IFS=: read -r name weight list <<< "$2"
	printf '{"version":"%s","weight":%s,"backends":[' "$name" "$weight"
	for item in ${list//,/ }; do
		i=${item%\**}
		w=1
		[ "$i" = "$item" ] || w=${item#*\*}
		printf '%s{"address":"%s%d","port":8080,"weight":%s}' "$comma" "$prefix" \
			"$((10 + i))" "$w"
		comma=,
	done
	printf ']}'
}

# One service's JSON: NAME VIP PREFIX VERSION...
service_json() {
	local name=$1 vip=$2 prefix=$3 comma='' v
	shift 3
	printf '{"name":"%s","mode":"nat","vips":[{"address":"%s","port":80,"protocol":"tcp"}],"versions":[' \
		"$name" "$vip"
	for v; do
		printf '%s%s' "$comma" "$(version_json "$prefix" "$v")"
		comma=,
	done
	printf ']}'
}

# steps_json "1:1s,10:1s,100:1s"
steps_json() {
	local step comma=''
	for step in ${1//,/ }; do
		printf '%s{"setWeight":%s,"pause":"%s"}' "$comma" "${step%%:*}" "${step#*:}"
		comma=,
	done
}

# config [key=value]... version=NAME:WEIGHT:BACKENDS...: write $RUN/zddlb.json. services=JSON takes
# the place of the two usual services.
config() {
	local -A o=([xdp]=native [ring]=16384 [established]=10s [syn]=5s [fin]=5s [check]=200ms
		[timeout]=500ms [rise]=2 [fall]=2 [steps]='1:1s,10:1s,50:1s,100:1s' [interval]=100ms
		[samples]=20 [alpha]=0.05 [increase]=0.01 [lease]=15s [drain]=5s [flows]=200000
		[v6]=1 [panic]=50 [listen]=127.0.0.1:9090 [state]="$RUN/state" [pins]="$RUN/bpf/zddlb"
		[socket]="$RUN/zddlb.sock" [deadline]=60s [file]="$RUN/zddlb.json" [path]=/health
		[iface]=eth0 [checktype]=http [udp]=10s)
	local versions=() services arg

	for arg; do
		case $arg in
		version=*) versions+=("${arg#version=}") ;;
		*) o[${arg%%=*}]=${arg#*=} ;;
		esac
	done
	if [ -n "${o[services]:-}" ]; then
		services=${o[services]}
	else
		services=$(service_json web 10.10.0.100 10.20.0. "${versions[@]}")
		[ "${o[v6]}" = 0 ] || services+=,$(service_json web6 fd10::100 fd20:: "${versions[@]}")
	fi
	cat > "${o[file]}.new" <<-JSON
	{
	  "apiVersion": "zddlb/v1",
	  "interfaces": [ { "name": "${o[iface]}", "xdpMode": "${o[xdp]}", "manageVips": true },
	                  { "name": "eth1", "xdpMode": "${o[xdp]}" } ],
	  "admin": { "listen": "${o[listen]}", "socket": "${o[socket]}" },
	  "state": { "dir": "${o[state]}", "pinDir": "${o[pins]}" },
	  "dataplane": { "maxFlows": ${o[flows]}, "ringSize": ${o[ring]},
	    "timeouts": { "tcpEstablished": "${o[established]}", "tcpSyn": "${o[syn]}", "tcpFin": "${o[fin]}",
	      "udp": "${o[udp]}" } },
	  "defaults": {
	    "healthCheck": { "type": "${o[checktype]}", "path": "${o[path]}", "interval": "${o[check]}",
	      "fastInterval": "100ms", "downInterval": "${o[check]}", "timeout": "${o[timeout]}",
	      "healthyThreshold": ${o[rise]}, "unhealthyThreshold": ${o[fall]} },
	    "drain": { "timeout": "${o[drain]}" }, "panicThreshold": ${o[panic]} },
	  "services": [ $services ],
	  "strategies": { "canary": { "type": "canary", "steps": [ $(steps_json "${o[steps]}") ],
	    "analysis": { "interval": "${o[interval]}", "alpha": ${o[alpha]}, "minSamples": ${o[samples]},
	      "maxIncrease": ${o[increase]} },
	    "lease": "${o[lease]}", "progressDeadline": "${o[deadline]}" } }
	}
	JSON
	mv "${o[file]}.new" "${o[file]}"
}

api() { local path=$1; shift; curl -sS --max-time 10 --unix-socket "$RUN/zddlb.sock" "$@" "http://zddlb$path"; }
zddlb() { "$BUILD/zddlb" --socket "$RUN/zddlb.sock" "$@"; }
is_ready() { [ "$(api /readyz -o /dev/null -w '%{http_code}')" = 200 ]; }
# A process that has ended stays in the table until it is waited for.
agent_lives() { [ -n "$AGENT" ] && grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$AGENT/status" 2>/dev/null; }

# Runs when this returns, and is ready.
start_agent() {
	spawn agent.log lb "$BUILD/zddlbd" run --config "$RUN/zddlb.json"
	AGENT=$SPAWNED
	if ! wait_for 10 agent_is_ready_or_gone || ! agent_lives; then
		note "the agent did not become ready; its log:" "$(tail -n 30 "$RUN/agent.log")"
		return 1
	fi
}
# must_start NAME: without an agent nothing that follows means anything.
must_start() {
	if start_agent; then
		pass "$1"
	else
		fail "$1"
		done_testing
		exit 1
	fi
}
agent_is_ready_or_gone() { ! agent_lives || is_ready; }

stop_agent() { stop "$AGENT" TERM; AGENT=; }
kill_agent() { stop "$AGENT" KILL; AGENT=; }
# The running agent stays; its data plane gets the program of this binary.
upgrade_agent() { in_ns lb "$BUILD/zddlbd" upgrade --config "$RUN/zddlb.json"; }
unload_agent() { in_ns lb "$BUILD/zddlbd" unload --config "$RUN/zddlb.json" >> "$RUN/agent.log" 2>&1; }

# Clients

# flows STATUSNAME N [OPTION...]: long-lived connections in the background; pid in $SPAWNED.
flows() {
	local name=$1 n=$2
	shift 2
	rm -f "$RUN/$name.status"
	spawn "$name.out" client "$HELPERS/flows" "${SOURCES[@]}" "${SOURCES6[@]}" \
		--connections "$n" --status "$RUN/$name.status" "$@"
}
# report NAME: what a flows or conns process last said.
report() { cat "$RUN/$1.status"; }
flows_alive() { [ "$(jq .alive "$RUN/$1.status" 2>/dev/null || echo 0)" -ge "$2" ]; }

# conns OPTION...: in the foreground, JSON on stdout.
conns() { in_ns client "$HELPERS/conns" "${SOURCES[@]}" "${SOURCES6[@]}" "$@"; }
# conns_bg NAME OPTION...
conns_bg() {
	local name=$1
	shift
	rm -f "$RUN/$name.status"
	spawn "$name.out" client "$HELPERS/conns" "${SOURCES[@]}" "${SOURCES6[@]}" \
		--status "$RUN/$name.status" "$@"
}

# counts REPORT VERSION: how many connections backends called VERSION or VERSION-* answered.
counts() {
	jq --arg v "$2" '[.backends | to_entries[] | select(.key == $v or (.key | startswith($v + "-"))) | .value] |
		add // 0' <<< "$1"
}

# share_is NAME GOT TOTAL PERCENT: within 4.5 standard deviations of a binomial share and one slot.
share_is() {
	local verdict
	verdict=$(awk -v k="$2" -v n="$3" -v p="$4" 'BEGIN {
		p /= 100; d = k - n * p; if (d < 0) d = -d
		bound = 4.5 * sqrt(n * p * (1 - p)) + n / 16384 + 1
		printf "%s: %d of %d (%.3f %%), wanted %.3f %%, %.1f off, bound %.1f", d <= bound ? "ok" : "no", k, n, 100 * k / n, 100 * p, d, bound
	}')
	if [ "${verdict%%:*}" = ok ]; then pass "$1"; else fail "$1" "$verdict"; fi
}

# has_slots SERVICE ADDRESS: its checks passed and the ring names it.
has_slots() {
	api "/api/v1/services/$1/backends" | jq -e --arg a "$2" \
		'(.backends? // .)[] | select(.address == $a) | .programmedSlots > 0 and .programmedSlots == .wantedSlots'
}

# Deployments

# start_deploy SERVICE TO [STRATEGY]: sets $DEPLOY to its id.
start_deploy() {
	local json
	json=$(api /api/v1/admin/deployment/start \
		-d "{\"serviceName\":\"$1\",\"toVersion\":\"$2\",\"strategy\":\"${3:-canary}\"}")
	DEPLOY=$(jq -r '.id // .deployment.id // empty' <<< "$json")
	[ -n "$DEPLOY" ] || { note "deployment not started: $json"; return 1; }
}
verb() { api "/api/v1/admin/deployment/$1/$2" -f -X POST -d '{}'; }
weight_is() { [ "$(api "/api/v1/services/$1/weights" | jq -r ".weights.\"$2\" // .\"$2\"")" = "$3" ]; }
health_is() { api "/api/v1/services/$1/backends" | jq -e --arg a "$2" --arg h "$3" '(.backends? // .)[] | select(.address == $a) | .health == $h'; }

deploy() { api "/api/v1/admin/deployment/$1"; }
deploy_field() { deploy "$1" | jq -r ".$2 // .deployment.$2 // empty"; }
deploy_is() { [ "$(deploy_field "$1" "$2")" = "$3" ]; }
