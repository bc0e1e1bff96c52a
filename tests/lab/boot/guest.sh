#!/bin/sh
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Guests of a host: a network namespace each, held by a process of the host, so that they die with it.
#
#   guest.sh add NAME DEVICE BRIDGE MAC    plug a new guest into a bridge (-: leave its device to the host, and down)
#   guest.sh rm NAME
#   guest.sh run NAME COMMAND...
set -eu
state=/run/novalab/guests
verb=$1 name=$2
shift 2

fail() {
  echo "$*" >&2
  exit 1
}

pid() {
  [ -s "$state/$name" ] || fail "no guest '$name' on this host"
  read -r process device <"$state/$name"
}

case $verb in
add)
  device=$1 bridge=$2 mac=$3
  [ ! -e "$state/$name" ] || fail "there is a guest '$name' already"
  [ "$bridge" = - ] || [ -d "/sys/class/net/$bridge/bridge" ] || fail "no bridge '$bridge' on this host"
  [ ! -e "/sys/class/net/$device" ] || fail "there is a device '$device' already"
  unshare --net --mount --uts --propagation private "$0" hold "$name" "$device" </dev/null >/dev/null 2>&1 &
  holder=$!
  until [ -s "$state/$name" ]; do
    kill -0 "$holder" 2>/dev/null || fail "the process of guest '$name' did not start"
    sleep 0.01
  done
  ip link add "$device" type veth peer name eth0 address "$mac" netns "$holder"
  # A DHCP client reads raw frames and may reject those whose checksum a network card was to fill in.
  ethtool -K "$device" tx off >/dev/null
  [ "$bridge" = - ] || ip link set "$device" master "$bridge" up
  nsenter --target "$holder" --net sh -c 'ethtool -K eth0 tx off; ip link set eth0 up' >/dev/null
  ;;
hold)
  # As the guest's first process: its own name, its own view of its network, its own resolver.
  trap '' CHLD
  hostname "$name"
  mount -t sysfs sysfs /sys
  mount -t tmpfs -o mode=755 resolv /mnt
  : >/mnt/resolv.conf
  mount --bind /mnt/resolv.conf /etc/resolv.conf
  umount -l /mnt
  ip link set lo up
  echo "$$ $1" >"$state/$name.new"
  mv "$state/$name.new" "$state/$name"
  mount -t tmpfs -o mode=755 run /run
  exec sleep infinity
  ;;
rm)
  pid
  ip link del "$device" 2>/dev/null || true
  kill -9 "$process" 2>/dev/null || true
  rm -f "$state/$name"
  ;;
run)
  pid
  exec nsenter --target "$process" --net --mount --uts --wdns=/root -- "$@"
  ;;
esac
