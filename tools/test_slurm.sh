#!/usr/bin/env bash
# Train in jobs of a real SLURM on this machine, which is started for it and stopped again. Called by `make test-slurm`.
# It needs root, and Debian's slurm-wlm and munge.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" >/dev/null || { echo "test-slurm: no $tool here: apt-get install slurm-wlm munge" >&2; exit 1; }
done
[[ $(id -u) == 0 ]] || { echo "test-slurm: SLURM's daemons are started as root" >&2; exit 1; }

folder=$(mktemp -d /tmp/slurm.XXXXXX)
host=$(hostname -s)
dd if=/dev/urandom of="$folder/key" bs=1 count=1024 status=none
chmod 400 "$folder/key"
chmod 755 "$folder"
cat >"$folder/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
KillWait=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SchedulerParameters=bf_interval=5,sched_min_interval=100000
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
mkdir -p "$folder/state" "$folder/spool"
export SLURM_CONF=$folder/slurm.conf

stop() {
    scancel --state=PENDING --state=RUNNING --partition=main >/dev/null 2>&1 || true
    for _ in $(seq 50); do [[ -z $(squeue --noheader 2>/dev/null) ]] && break; sleep 0.2; done
    local pid pids=()
    for name in slurmd slurmctld munged; do
        [[ -f $folder/$name.pid ]] && pids+=("$(<"$folder/$name.pid")")
    done
    kill "${pids[@]}" 2>/dev/null || true
    for pid in "${pids[@]}"; do  # they write into the folder until they end
        for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    done
    rm -rf "$folder"
}
trap stop EXIT

munged --force --key-file="$folder/key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
slurmctld
slurmd
for _ in $(seq 50); do
    if sinfo --noheader --format=%t 2>/dev/null | grep -qE '^(idle|mix)'; then break; fi
    sleep 0.2
done
sinfo
.venv/bin/python -m pytest -q -rs tests/operators/test_slurm.py "$@" || { tail -n 20 "$folder"/slurm*.log; exit 1; }
