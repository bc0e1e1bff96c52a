#!/bin/sh
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The first process of a host, in fresh namespaces: builds the host's root and becomes the host.
#
#   host-init.sh MARK DISK NAME KIND [COMMAND...]
#
# MARK     tells this process apart from all others (the lab looks for it on the command line)
# DISK     folder with upper/ and work/, the layers that hold what the host writes, and maybe a link "layer" to one
#          that lies between these and the machine's root
# COMMAND  what to become in the end (kind uml: its kernel; kind qemu: the server of its root, the server's socket, and
#          the emulator)
# Says "ready" on standard output; from then on both outputs are the log.
set -eu
disk=$2 name=$3 kind=$4
shift 4

mkdir -p "$disk/root"
lower=/
[ ! -e "$disk/layer" ] || lower=$(readlink -f "$disk/layer"):/
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$disk/upper,workdir=$disk/work" "$disk/root"
cd "$disk/root"
mount -t proc proc proc
mount -t sysfs sysfs sys || true # a network namespace that another user namespace owns refuses it
mount -t tmpfs -o mode=755 dev dev
mkdir -p dev/net dev/pts dev/shm
for node in null zero full random urandom tty net/tun; do
  [ ! -e "/dev/$node" ] || cp -a "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
ln -s fd/0 dev/stdin
ln -s fd/1 dev/stdout
ln -s fd/2 dev/stderr
ln -s pts/ptmx dev/ptmx
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts dev/pts
mount -t tmpfs shm dev/shm
mount -t tmpfs -o mode=755 run run
mount -t tmpfs -o mode=1777 tmp tmp
while read -r place folder; do
  mkdir -p "usr/local/lib/novalab/python/$place"
  mount -o bind,ro "$folder" "usr/local/lib/novalab/python/$place"
done <usr/local/lib/novalab/shared
mkdir -p run/lock run/novalab/guests run/novalab/old-root
pivot_root . run/novalab/old-root
umount -l /run/novalab/old-root
rmdir /run/novalab/old-root

if [ "$kind" != uml ] && [ "$kind" != qemu ]; then
  # Sysctls outside net.* belong to the machine, not to this host.
  mount --bind /proc/sys /proc/sys
  mount --bind /proc/sys/net /proc/sys/net
  mount -o remount,bind,ro /proc/sys
  hostname "$name"
  ip link set lo up
fi

case $kind in
uml)
  # Debian's kernel for UML has the legacy tables only.
  for tool in iptables ip6tables ebtables; do
    for suffix in "" -save -restore; do
      [ ! -e "/usr/sbin/$tool-legacy$suffix" ] || ln -sfn "/usr/sbin/$tool-legacy$suffix" "/etc/alternatives/$tool$suffix"
    done
  done
  ;;
qemu)
  server=$1 socket=$2
  shift 2
  "$server" --socket-path="$socket" -o source=/,cache=always,sandbox=chroot,xattr >&2 </dev/null &
  until [ -S "$socket" ]; do
    kill -0 $! || exit 1
    sleep 0.02
  done
  ;;
systemd)
  /usr/local/lib/novalab/systemd-prepare.sh
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  export container=novalab
  set -- /lib/systemd/systemd --system --log-target=journal
  ;;
*)
  # Orphans are reaped by the kernel, as sleep does not wait for them. (dash would not hand the trap on.)
  set -- bash -c "trap '' CHLD; exec sleep infinity"
  ;;
esac
echo ready
exec "$@" >&2 </dev/null
