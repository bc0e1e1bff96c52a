#!/bin/sh
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Called by udhcpc with an event and, in the environment, what the server gave: applies and prints it.
# shellcheck disable=SC2154  # the variables are udhcpc's
set -eu
case $1 in
deconfig)
  ip addr flush dev "$interface" scope global
  ip link set "$interface" up
  ;;
bound | renew)
  [ -z "${mtu:-}" ] || ip link set "$interface" mtu "$mtu"
  ip addr replace "$ip/$mask" ${broadcast:+broadcast "$broadcast"} dev "$interface"
  for gateway in ${router:-}; do
    ip route replace default via "$gateway" dev "$interface"
    break
  done
  [ -z "${hostname:-}" ] || hostname "$hostname"
  {
    [ -z "${domain:-}" ] || echo "search $domain"
    for server in ${dns:-}; do echo "nameserver $server"; done
  } >/etc/resolv.conf
  env | sed 's/^/given /'
  ;;
esac
