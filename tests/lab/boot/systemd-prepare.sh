#!/bin/sh
# Copyright: tenantnet.nova contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Once per disk: leave systemd with no unit of the machine's own and none that acts on machine-wide state.
set -eu
units=/etc/systemd/system
[ ! -e "$units/.novalab" ] || exit 0
for folder in /lib/systemd/system "$units"; do
  rm -rf "$folder"/*.wants "$folder"/*.requires
done
rm -rf /.dockerenv /etc/fstab /etc/rc?.d/*
: >/etc/machine-id
mkdir -p "$units/sysinit.target.wants" "$units/sockets.target.wants" "$units/multi-user.target.wants"
for unit in systemd-journald.service systemd-tmpfiles-setup.service; do
  ln -s "/lib/systemd/system/$unit" "$units/sysinit.target.wants/"
done
for unit in dbus.socket systemd-journald.socket systemd-journald-dev-log.socket; do
  ln -s "/lib/systemd/system/$unit" "$units/sockets.target.wants/"
done
ln -sfn /lib/systemd/system/multi-user.target "$units/default.target"
: >"$units/.novalab"
