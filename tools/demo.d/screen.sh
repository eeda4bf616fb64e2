# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# How the demo talks: short paragraphs, and a table that lives. Colours only on a terminal.

bold='' dim='' red='' green='' cyan='' off=''
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
	bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' cyan=$'\e[36m' off=$'\e[0m'
fi
live_lines=0

say_bold() { printf '%s%s%s\n' "$bold" "$*" "$off"; }
headline() { printf '\n%s== %s ==%s\n' "$bold$cyan" "$*" "$off"; }
explain() { printf '  %s\n' "$@"; }
command_line() { printf '  %s$ %s%s\n' "$dim" "$1" "$off"; shift; for l; do printf '  %s  %s%s\n' "$dim" "$l" "$off"; done; }
say_good() { printf '  %s%s%s\n' "$green" "$*" "$off"; }
say_bad() { printf '  %s%s%s\n' "$red" "$*" "$off"; }
row() { printf '  %-44s %s%s%s\n' "$1" "$bold" "$2" "$off"; }

# bar PERCENT: 30 characters
bar() {
	local n i s=''
	printf -v n '%.0f' "$1"
	n=$((n * 30 / 100))
	for ((i = 0; i < 30; i++)); do
		if [ "$i" -lt "$n" ]; then s+='#'; else s+='.'; fi
	done
	printf '%s' "$s"
}

# Connections the clients made so far, a version a line: NAME COUNT
client_counts() {
	jq -r '[.backends | to_entries[] | {v: (.key | split("-")[0]), n: .value}] | group_by(.v)[] |
		"\(.[0].v) \(map(.n) | add)"' "$RUN/new.status" 2>/dev/null
}

declare -A since=()
mark_step() {
	local v n
	since=()
	while read -r v n; do since[$v]=$n; done < <(client_counts)
}

# The table: wanted and programmed by the agent's word, measured by the clients since the step began.
table() {
	local v wanted programmed n total=0 share
	declare -A now=()

	while read -r v n; do
		now[$v]=$((n - ${since[$v]:-0}))
		total=$((total + now[$v]))
	done < <(client_counts)
	printf '    %-8s %9s %11s %9s   %s\n' version wanted programmed measured "(of $total new connections)"
	while read -r v wanted programmed; do
		if [ "$total" -gt 0 ]; then
			share=$((${now[$v]:-0} * 10000 / total))
		else
			share=0
		fi
		printf '    %-8s %8s%% %10s%% %5d.%02d%%   %s\n' "$v" "$wanted" "$programmed" \
			$((share / 100)) $((share % 100)) "$(bar $((share / 100)))"
	done < <(api /api/v1/services/web/versions |
		jq -r '(.versions? // .)[] | "\(.version) \(.wanted) \(.programmed)"')
}

# Draw over the last drawing on a terminal, below it elsewhere.
draw() {
	local text=$1
	if [ -n "$off" ] && [ "$live_lines" -gt 0 ]; then
		printf '\e[%dA\e[J' "$live_lines"
	fi
	printf '%s\n' "$text"
	live_lines=$(wc -l <<< "$text")
}

describe_deploy() {
	jq -r '(.deployment? // .) | "  deployment \(.id): \(.fromVersion) to \(.toVersion), \(.phase)" +
		(if .step > 0 then ", step \(.step) of \(.steps | length)" else "" end) +
		", evidence \(.verdict.evidence) of \(.verdict.threshold // "?")"' <<< "$1"
}

# watch_deploy ID SECONDS [STEP]: until it is over, or two seconds into STEP; a table for each step.
watch_deploy() {
	local id=$1 deadline=$(($(now_ms) + $2 * 1000)) until=${3:-none} json step last_step=none last_draw=0 status

	while [ "$(now_ms)" -lt "$deadline" ]; do
		json=$(deploy "$id")
		status=$(jq -r '(.deployment? // .).status' <<< "$json")
		step=$(jq -r '(.deployment? // .).step' <<< "$json")
		if [ "$step" != "$last_step" ]; then
			mark_step
			last_step=$step
			live_lines=0
			last_draw=$(($(now_ms) - 1000))
			echo
			[ "$step" != "$until" ] || deadline=$(($(now_ms) + 2000))
		fi
		if [ -n "$off" ] || [ $(($(now_ms) - last_draw)) -ge 2000 ]; then
			draw "$(describe_deploy "$json"; table)"
			last_draw=$(now_ms)
		fi
		case $status in
		completed | failed | rolled_back) return ;;
		esac
		sleep 0.2
	done
}
