#!/bin/sh
# The AWS CLI version 2 as Debian ships it, for tests/real/test_awscli2.py: each release in a directory with all it needs.
#
#   awscli.sh build DIRECTORY                  build those that are not there yet, as root (two minutes, 1 GB)
#   awscli.sh run DIRECTORY/RELEASE COMMAND... run a command in one of them
#
# `run` must be started with
#   unshare --mount [--map-root-user]
# so that its mounts end with the command. Inside, /dev, /proc and /tmp are the host's.
set -eu

what=$1
directory=$2

build() {
	release=$1
	ready=$directory/$release
	test -e "$ready/built" && return
	site=$(apt-get indextargets --format '$(SITE)' | grep '/debian/*$' | head -n 1)
	rm -rf --one-file-system "$ready"
	# Of its mounts none is left, even if it is killed.
	unshare --mount debootstrap --variant=minbase --include=awscli,python3-cffi-backend \
		"$release" "$ready" "${site:-http://deb.debian.org/debian}"
	rm -rf "$ready"/var/cache/apt "$ready"/var/lib/apt/lists "$ready"/usr/share/doc "$ready"/usr/share/locale
	chroot "$ready" aws --version >"$ready/built.new"
	mv "$ready/built.new" "$ready/built" # last: a directory without it is built anew
}

case $what in
build)
	mkdir -p "$directory"
	for release in bookworm trixie sid; do
		build "$release"
	done
	;;
run)
	shift 2
	for shared in /dev /proc /tmp; do
		mount --rbind $shared "$directory$shared"
	done
	exec chroot "$directory" "$@"
	;;
esac
