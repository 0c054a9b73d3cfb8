#!/bin/sh
# The real ClockBound daemons, for tests/real/test_clockbound.py.
#
#   clockbound.sh build DIRECTORY        build 2.x and 0.1.x into it, by cargo, from crates.io (some minutes)
#   clockbound.sh run DIRECTORY PORT     run both, beside a chronyd that follows the NTP server at 127.0.0.1:PORT
#
# `run` mounts a /run of its own, since the daemons' paths are fixed; so it must be started by
#   unshare --mount [--map-root-user] --pid --fork --kill-child
# and whoever wants to see that /run looks at /proc/PID/root/run. It ends when it is killed, with all that it started.
# 0.1.x asks chronyd at 127.0.0.1:323, which only root can bind; without, it does not start.
# chronyd has -x: nothing here can set the machine's clock.
set -eu

what=$1
directory=$(mkdir -p "$2" && cd "$2" && pwd)

case $what in
build)
	for version in 2.0.3 0.1.4; do
		test -x "$directory/$version/ready" && continue
		cargo install clock-bound-d --version "=$version" --root "$directory/$version"
		ln -s "bin/$(ls "$directory/$version/bin")" "$directory/$version/ready"
	done
	;;
run)
	port=$3
	mount -t tmpfs none /run
	mkdir -p /run/chrony /run/clockbound /run/clockboundd
	chmod 0770 /run/chrony
	chronyd -x -d -u root "server 127.0.0.1 port $port iburst minpoll -4 maxpoll -2" 'port 0' \
		'cmdport 323' 'bindcmdaddress 127.0.0.1' 'bindcmdaddress /run/chrony/chronyd.sock' 'pidfile /run/chronyd.pid' &
	until test -S /run/chrony/chronyd.sock; do sleep 0.1; done
	# 0.1.x does not start without a system log, and stops where that is not read.
	python3 -c 'import socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind("/var/run/syslog")
while True: s.recv(65536)' &
	until test -S /var/run/syslog; do sleep 0.1; done
	"$directory/2.0.3/ready" --disable-clock-disruption-support --max-drift-rate 50 &
	cd /run/clockboundd # where it is started, it puts its socket
	"$directory/0.1.4/ready" --max_clock_error 50 &
	wait
	;;
esac
