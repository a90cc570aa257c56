#!/bin/sh
# archive.sh: keep one file of WAL, for archive_command:
#   archive_command = '/usr/share/doc/aegis-workers/examples/backup/archive.sh /backup/wal %p %f'
# Says yes only once the file is on the disk under its name; a file that is there
# already is fine when it is the same, and never written over.
set -eu
archive=$1 path=$2 name=$3
if [ -e "$archive/$name" ]; then
    cmp -s "$path" "$archive/$name"
    exit
fi
cp "$path" "$archive/.$name.new"
sync "$archive/.$name.new"
mv "$archive/.$name.new" "$archive/$name"
sync "$archive"
