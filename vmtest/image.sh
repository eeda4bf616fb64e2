# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2154
# A kernel and a root file system for the guest. Sourced by vmtest/run, which sets `build`.

# Programs of the host that the suites call; busybox has the rest.
guest_programs=(bash ip tc ethtool nsenter jq curl bpftool ping)
guest_modules=(veth sch_ingress cls_bpf bridge ipv6)

# newest SERIES: name of the newest kernel package of a series, "6.1" or "6.12".
newest() {
	apt-cache search --names-only "^linux-image-${1//./\\.}\\.[0-9].*-amd64\$" | awk '{ print $1 }' |
		grep -vE -- '-(rt|cloud)-' | sort -V | tail -n 1
}

# kernel SERIES DIR: unpack the package into DIR/kernel, once.
kernel() {
	local package

	package=$(newest "$1")
	[ -n "$package" ] || { echo "there is no kernel package of series $1"; return 1; }
	[ "$(cat "$2/package" 2>/dev/null)" != "$package" ] || return 0
	rm -rf "$2"
	mkdir -p "$2/kernel"
	(cd "$2" && apt-get download -qq -o APT::Sandbox::User=root "$package" && dpkg -x "$package"_*.deb kernel && rm -f ./*.deb) || return 1
	depmod -b "$2/kernel" "$(ls "$2/kernel/lib/modules")" || return 1
	cp "$2"/kernel/boot/vmlinuz-* "$2/vmlinuz"
	echo "$package" > "$2/package"
}

# with_libraries ROOT FILE...: copy programs and the libraries they load to the same places.
with_libraries() {
	local root=$1 f
	shift
	for f; do
		{ echo "$f"; ldd "$f" 2>/dev/null | grep -oE '/[^ ]+'; } | while read -r f; do
			[ -e "$root$f" ] || install -D "$f" "$root$f"
		done
	done
}

# modules DIR ROOT: the modules the suites need, with what those need.
modules() {
	local version m file

	version=$(ls "$1/kernel/lib/modules")
	for m in "${guest_modules[@]}"; do
		modprobe -d "$1/kernel" -S "$version" --show-depends "$m" 2>/dev/null |
			awk '$1 == "insmod" { print $2 }'
	done | awk '!seen[$0]++' | while read -r file; do
		m=$(basename "${file%%.ko*}").ko
		case $file in
		*.xz) xz -dc "$file" > "$2/modules/$m" ;;
		*) cp "$file" "$2/modules/$m" ;;
		esac
		echo "$m" >> "$2/modules/order"
	done
}

# image SERIES DIR: DIR/vmlinuz and DIR/initrd.
image() {
	local dir=$2 root=$2/root p

	kernel "$1" "$dir" || return 1
	rm -rf "$root"
	mkdir -p "$root"/{bin,sbin,dev,proc,sys,tmp,run,root,etc,modules,guest/tests,guest/vmtest,guest/tools}
	cp /bin/busybox "$root/bin/busybox"
	for p in "${guest_programs[@]}"; do
		p=$(PATH=$PATH:/usr/sbin:/sbin command -v "$p") || { echo "$p is not installed"; return 1; }
		with_libraries "$root" "$(readlink -f "$p")"
		[ "$(readlink -f "$p")" = "$p" ] || ln -sf "$(readlink -f "$p")" "$root/bin/$(basename "$p")"
	done
	ln -sf "$(readlink -f "$(command -v bash)")" "$root/bin/bash"
	modules "$dir" "$root"
	for p in "$build"/tests/dataplane/*_test "$build"/tests/netns/{backend,flows,conns} "$build/zddlbd" "$build/zddlb"; do
		with_libraries "$root" "$(readlink -f "$p")"
		install -D "$p" "$root/guest/$p"
	done
	# with_libraries has copied the programs to where they lie here, too.
	rm -rf "$root${PWD:?}"
	cp -r tests/netns "$root/guest/tests/"
	cp vmtest/guest "$root/guest/vmtest/"
	install -m 755 vmtest/init "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) > "$dir/initrd"
	rm -rf "$root"
}
