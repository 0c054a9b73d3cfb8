#!/bin/sh
# The real ClockBound daemons and their own clients, for tests/real/test_clockbound*.py.
#
#   clockbound.sh build DIRECTORY              build all of them there with cargo, from crates.io (some minutes)
#   clockbound.sh run DIRECTORY [NAME=VALUE]   run 2.x and 0.1.x, beside a chronyd that follows another, which gets
#                                              these variables
#   clockbound.sh run3 DIRECTORY [NAME=VALUE]  run 3.x, with a chronyd that gets these variables
#
# Both mount their own /run, because the daemons' paths are fixed, and use addresses and ports that the host may need;
# and 3.x contacts servers on the internet whatever its configuration is. So they must be started with
#   unshare --mount --net [--map-root-user] --pid --fork --kill-child
# That /run is visible as /proc/PID/root/run. When the script is killed, all its children end.
# 0.1.x queries chronyd at 127.0.0.1:323, which only root can bind; without root it does not start.
# Nothing here can set the machine's clock: chronyd runs with -x, and 3.x lacks the right and the feature.
set -eu

what=$1
directory=$(mkdir -p "$2" && cd "$2" && pwd)
three=3.0.0-rc.0
clients=$(dirname "$0")/clockbound_clients

case $what in
build)
	export CARGO_TARGET_DIR="$directory/target"
	# Only the build needs to be fast.
	fast="env CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_OPT_LEVEL=1"
	for version in 2.0.3 0.1.4; do
		test -x "$directory/$version/ready" && continue
		$fast cargo install clock-bound-d --version "=$version" --root "$directory/$version"
		ln -s "bin/$(ls "$directory/$version/bin")" "$directory/$version/ready"
	done
	# Built with its authors' feature for running beside another daemon, so it disciplines no clock.
	if ! test -x "$directory/$three/ready"; then
		$fast cargo install clock-bound --version "=$three" --locked --root "$directory/$three" \
			--features daemon,test-side-by-side --bin clockbound
		ln -s bin/clockbound "$directory/$three/ready"
	fi
	for version in 2.0.3 $three; do
		test -e "$directory/$version/libclockbound.so" && continue
		cargo build --manifest-path "$clients/Cargo.toml" --release --locked --package "clock-bound-ffi@$version"
		cp "$CARGO_TARGET_DIR/release/libclockbound.so" "$directory/$version/"
	done
	if ! test -x "$directory/0.1.4/client"; then
		cargo build --manifest-path "$clients/Cargo.toml" --release --locked --package clockbound-clients
		cp "$CARGO_TARGET_DIR/release/clockbound-clients" "$directory/0.1.4/client"
	fi
	rm -rf "$CARGO_TARGET_DIR"
	;;
run)
	shift 2
	mount -t tmpfs none /run
	ip link set lo up
	env "$@" chronyd -x -d -u root 'local stratum 1' allow 'bindaddress 127.0.0.1' 'port 123' 'cmdport 0' \
		'bindcmdaddress /' 'pidfile /run/server.pid' &
	until test -e /run/server.pid; do sleep 0.1; done
	mkdir -p /run/chrony /run/clockbound /run/clockboundd
	chmod 0770 /run/chrony
	chronyd -x -d -u root 'server 127.0.0.1 iburst minpoll -4 maxpoll -2' 'port 0' \
		'cmdport 323' 'bindcmdaddress 127.0.0.1' 'bindcmdaddress /run/chrony/chronyd.sock' 'pidfile /run/chronyd.pid' &
	until test -S /run/chrony/chronyd.sock; do sleep 0.1; done
	# 0.1.x needs a system log that is read: otherwise it does not start, or stops.
	python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("/var/run/syslog")
while True: s.recv(65536)' &
	until test -S /var/run/syslog; do sleep 0.1; done
	"$directory/2.0.3/ready" --disable-clock-disruption-support --max-drift-rate 50 &
	# 0.1.x creates its socket once chronyd is synchronized. It queries chronyd at start, then every 10 s.
	chronyc -h 127.0.0.1 waitsync 0 0 0 0.1 >/dev/null
	cd /run/clockboundd # where it is started, it puts its socket
	"$directory/0.1.4/ready" --max_clock_error 50 &
	wait
	;;
run3)
	shift 2
	mount -t tmpfs none /run
	# 3.x takes this for an EC2 instance without VMClock. Elsewhere it queries at most every 16 s, in a packet that chronyd
	# 4.3 ignores, because its extension field is shorter than the last one may be (RFC 7822).
	mount -t tmpfs none /sys
	mkdir -p /sys/devices/virtual/dmi/id
	echo 'Amazon EC2' >/sys/devices/virtual/dmi/id/sys_vendor
	echo m7i.metal-24xl >/sys/devices/virtual/dmi/id/product_name
	ip link set lo up
	ip address add 169.254.169.123/32 dev lo # Amazon Time Sync, here
	env "$@" chronyd -x -d -u root 'local stratum 1' allow 'bindaddress 169.254.169.123' 'cmdport 0' \
		'bindcmdaddress /' 'pidfile /run/chronyd.pid' &
	until test -e /run/chronyd.pid; do sleep 0.1; done
	harmless='setpriv --bounding-set=-sys_time --inh-caps=-sys_time'
	# Check whether it could set the clock: write back what was read.
	$harmless python3 -c 'import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
timex = ctypes.create_string_buffer(208)
assert libc.adjtimex(timex) >= 0
timex[0] = 4  # ADJ_MAXERROR
assert libc.adjtimex(timex) == -1 and ctypes.get_errno() == errno.EPERM, "the clock could be set"'
	$harmless grep Cap /proc/self/status >/run/capabilities
	$harmless "$directory/$three/ready" >/run/clockbound.log 2>&1 &
	wait
	;;
esac
