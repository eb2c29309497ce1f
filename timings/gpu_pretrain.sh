#!/bin/bash
# One run of at most ten minutes on a machine with a GPU: it renders faces there, trains ResNet-50 at 224 pixels
# on them, and leaves weights, their card, the log and the seconds of each part in a folder to bring back.
#
#   OUT=result bash timings/gpu_pretrain.sh
#
# Small, on a processor, to see that all of it works (about three minutes on a core):
#
#   DEVICE=cpu SECONDS_IN_ALL=120 SIZE=64 PEOPLE=6 WORKERS=1 PAIRS=8 BATCH=8 BACKBONE=resnet18 OUT=small \
#       bash timings/gpu_pretrain.sh
#
# Corpora are rendered one after the other, each whole, for 45 % of the time; what is there then is learnt from. An
# epoch is timed first, and the training gets as many as fit. START names what it starts from, as --from does; its batch
# norms are held fast then (docs/transfer.md).
set -euo pipefail

OUT=${OUT:?name the folder for what is brought back}
ALL=${SECONDS_IN_ALL:-570} DEVICE=${DEVICE:-cuda} SIZE=${SIZE:-224} PEOPLE=${PEOPLE:-64} WORKERS=${WORKERS:-$(nproc)}
PAIRS=${PAIRS:-16384} BATCH=${BATCH:-256} BACKBONE=${BACKBONE:-resnet50} START=${START:-}
BENCH=${BENCH:-comface-bench}

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$OUT"
began=$(date +%s)
passed() { echo $(($(date +%s) - began)); }
note() { echo "$(passed) s: $*" | tee -a "$OUT/seconds.txt"; }

corpora=() first=0 longest=0
while ((${#corpora[@]} == 0 || $(passed) + longest < ALL * 45 / 100)); do
    start=$(passed)
    corpus="$WORK/faces$first"
    $BENCH synth corpus --out "$corpus" --attributes age,weight,smile --identities "$PEOPLE" --alphas 8 --seed 22 \
        --first "$first" -o nuisance=on -o ageless=hair-colour,hair-loss,hairstyle,beard,skin,glasses,clothes \
        -o size="$SIZE" -o device="$DEVICE" --workers "$WORKERS"
    corpora+=(--corpus "$corpus")
    first=$((first + PEOPLE))
    took=$(($(passed) - start))
    longest=$((took > longest ? took : longest))
    note "rendered $((first * 24)) images in all"
done

cat > "$WORK/run.toml" <<SETTINGS
backbone = "$BACKBONE"
image_size = $SIZE
batch_size = $BATCH
pairs_per_epoch = $PAIRS
schedule = "cosine"
warmup_steps = 50
augmentation = "table-b"
degradation = "photograph"
validation_share = 0.2
validation_pairs = 1000
SETTINGS
train() { # folder, epochs, most seconds
    timeout --signal=INT "$3" $BENCH pretrain --config "$WORK/run.toml" "${corpora[@]}" --out "$1" -o epochs="$2" --device "$DEVICE" \
        --threads "$WORKERS" ${START:+--from "$START" -o freeze=norms}
}
start=$(passed)
train "$WORK/measure" 1 "$ALL"
took=$(($(passed) - start + 1))
left=$((ALL - $(passed) - 20))
epochs=$((left / took > 0 ? left / took : 1))
note "one epoch took $took s, its start and validation included; $epochs fit"
# What it has learnt by then is exported all the same; a slow machine gets one epoch in any case.
limit=$((left > 2 * took + 10 ? left : 2 * took + 10))
train "$OUT/training" "$epochs" "$limit" || note "the training was cut short"
note "trained"
$BENCH export "$OUT/training" --out "$OUT/weights.safetensors"
rm -f "$OUT/training/state.pt" "$OUT/training/best.pt" # what is brought back is small
note "exported"
