#!/bin/sh
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# First process of a host with its own kernel (User-Mode Linux, or on an emulated machine).
here=/usr/local/lib/novalab
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/lock /run/novalab/guests
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/shm /dev/pts /dev/net
mount -t tmpfs shm /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
ln -sf pts/ptmx /dev/ptmx
hostname "$(cat /etc/hostname)"
# shellcheck disable=SC3045  # every shell that Debian offers as sh has it
ulimit -n 4096

# This kernel's modules are where modprobe does not look.
kernel=$(uname -r)
mkdir -p /lib/modules
if [ -e "/usr/lib/uml/modules/$kernel" ]; then
  modules=/usr/lib/uml/modules own="iptable_nat iptable_filter ebtables" # which this kernel does not load by itself
else
  modules=$here/python/kernel/modules own=virtio_net
fi
[ -e "/lib/modules/$kernel" ] || ln -s "$modules/$kernel" "/lib/modules/$kernel"
# shellcheck disable=SC2086  # several names
busybox modprobe -a 8021q bridge br_netfilter veth tun $own

ip -batch - <"$here/network"
agent="/usr/bin/python3 -u $here/agent.py $here/python"
if [ -e /etc/novalab-systemd ]; then
  "$here/systemd-prepare.sh"
  printf '%s\n' "[Service]" "ExecStart=$agent" >/etc/systemd/system/novalab-agent.service
  ln -sf ../novalab-agent.service /etc/systemd/system/multi-user.target.wants/
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  export container=novalab
  exec /lib/systemd/systemd --system
fi
exec $agent
