#!/bin/sh
# Slurm 22.05.8 (Debian 12): of two jobs on a node that is lost, one is requeued, and the other one has FAILED.
#
#     one.sh    ...; srun true      # comes to its srun after the node's daemon went away
#     two.sh    sleep 100
#
# Both may be requeued (Requeue=1, the default), the daemon `slurmd` of their only node ends, and Slurm sets the
# node DOWN. Output seen:
#     one: JobState=FAILED Reason=NonZeroExitCode, Restarts=0
#     two: JobState=PENDING, Restarts=1
#
# Guess before running: both PENDING with Restarts=1. The documentation of JobRequeue says that batch jobs are
# requeued after the failure of a node, and both lose the same node. In fact Slurm needs SlurmdTimeout (300 s by
# default) to find out. A script that is alive in the meantime and comes to an srun gets "Communication connection
# failure", ends with that status, and its end is reported past the missing daemon: a job that has ended is none
# that could be requeued. Whoever runs lost jobs again, by their state, has to count FAILED among them.
#
# Needs Debian's packages in these versions (apt-get install slurm-wlm munge), and runs daemons of its own.
set -eu
PATH=$PATH:/usr/sbin
for pinned in slurmctld=22.05.8-4+deb12u3 slurmd=22.05.8-4+deb12u3 munge=0.5.15-2+deb12u1; do
  test "$(dpkg-query -W -f '${Version}' "${pinned%%=*}" 2>/dev/null)" = "${pinned#*=}" || {
    echo "needs $pinned" >&2
    exit 2
  }
done
folder=$(mktemp -d /tmp/finding-XXXXXX)
daemons=
stop() {
  scancel --user "$(id -un)" || true
  slurmd -D -N node >/dev/null 2>&1 & daemons="$daemons $!"  # back again, it ends what still runs
  sleep 8
  for daemon in $daemons; do kill "$daemon" 2>/dev/null || true; done
  wait
  rm -rf "$folder"
}
export SLURM_CONF="$folder/slurm.conf"
chmod 711 "$folder"
cd "$folder"
(umask 077; head -c 1024 /dev/urandom > key)
port=$((20000 + $$ % 20000))
cat > slurm.conf <<CONF
ClusterName=finding
SlurmctldHost=$(uname -n | cut -d. -f1)(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthInfo=socket=$folder/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdTimeout=6
MessageTimeout=3
KillWait=2
ReturnToService=2
NodeName=node NodeHostname=$(uname -n | cut -d. -f1) NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=2
PartitionName=main Nodes=node Default=YES
CONF
mkdir state
munged --foreground --key-file=key --socket=socket --pid-file=munged.pid --seed-file=seed >munged.log 2>&1 & daemons=$!
until test -S socket; do sleep 0.2; done
slurmctld -D >slurmctld.log 2>&1 & daemons="$daemons $!"
trap stop EXIT
trap 'exit 1' INT TERM
slurmd -D -N node >slurmd.log 2>&1 & node=$!
until sinfo -h -o %T 2>/dev/null | grep -q idle; do sleep 0.5; done
printf '#!/bin/sh\nuntil test -e go; do sleep 0.2; done\nsrun true\n' > one.sh
printf '#!/bin/sh\nsleep 100\n' > two.sh
sbatch --parsable one.sh
sbatch --parsable two.sh
until test "$(squeue -h -t RUNNING -o %i | wc -l)" = 2; do sleep 0.5; done
kill "$node"
wait "$node" || true
touch go
until sinfo -h -o %T | grep -q down; do sleep 1; done
sleep 2
scontrol show job 1 --oneliner | grep -oE '(JobState|Reason|Requeue|Restarts)=[^ ]*' | tr '\n' ' ' > one
scontrol show job 2 --oneliner | grep -oE '(JobState|Reason|Requeue|Restarts)=[^ ]*' | tr '\n' ' ' > two
head one two
grep -q 'JobState=FAILED Reason=NonZeroExitCode.*Requeue=1 Restarts=0' one
grep -q 'JobState=PENDING.*Requeue=1 Restarts=1' two
