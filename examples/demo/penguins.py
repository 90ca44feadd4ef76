"""How heavy are penguins? A DAG whose tasks are pods: three images, three languages, one mapped step, one retry.

    species ──> weigh (one pod a species) ──┬──> chart
    witness (needs a Secret, fails once) ───┘

The data are the Palmer Archipelago penguins (Horst, Hill, Gorman 2020; CC0), which lie in the images. `script/demo`
builds the images, makes the Secret and runs it.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task
from airflow.sdk.definitions.param import Param

from podbay import KubernetesPodOperator

SPECIES = """
import csv, json
with open("/data/penguins.csv") as file:
    found = sorted({row["species"] for row in csv.DictReader(file)})
print("species:", *found)
with open("/airflow/xcom/return.json", "w") as file:
    json.dump([{"SPECIES": name} for name in found], file)
"""

WEIGH = r"""
awk -F, -v species="$SPECIES" '
  $1 == species && $6 != "NA" { sum += $6; n++ }
  END { printf "{\"species\": \"%s\", \"grams\": %d, \"birds\": %d}", species, sum / n, n }
' /data/penguins.csv | tee /airflow/xcom/return.json
"""

WITNESS = r"""
my $key = $ENV{WITNESS_KEY} or die "no key\n";
die "the ink is still wet; come again\n" if $ENV{TRY} < 2;
my $sum = 0;
$sum = ($sum * 31 + ord) % 65521 for split //, $key;
open my $file, ">", "/airflow/xcom/return.json" or die $!;
printf $file "\"witness %04x\"", $sum;
print "signed\n";
"""

with DAG(
    "penguins",
    params={"out": Param("/tmp", type="string", description="Directory of the node for the chart")},
    default_args={"result_transport": "termination_message", "retry_delay": timedelta(seconds=1)},
) as dag:
    species = KubernetesPodOperator(
        task_id="species",
        image="localhost/demo-python:1",
        cmds=["python3", "-c", SPECIES],
        do_xcom_push=True,
    )
    weigh = KubernetesPodOperator.partial(
        task_id="weigh",
        image="localhost/demo-awk:1",
        cmds=["sh", "-c", WEIGH],
        do_xcom_push=True,
    ).expand(env_vars=species.output)
    witness = KubernetesPodOperator(
        task_id="witness",
        image="localhost/demo-perl:1",
        cmds=["perl", "-e", WITNESS],
        env_vars={"TRY": "{{ ti.try_number }}"},
        env_secrets={"WITNESS_KEY": "env-secrets/WITNESS_KEY"},
        retries=1,
        do_xcom_push=True,
    )

    @task.pod(
        image="localhost/demo-python:1",
        volumes=[{"name": "out", "hostPath": {"path": "{{ params.out }}", "type": "DirectoryOrCreate"}}],
        volume_mounts=[{"name": "out", "mountPath": "/out"}],
    )
    def chart(weights, signature):
        rows = sorted(weights, key=lambda row: row["grams"])
        parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="520" height="200" font-family="sans-serif">']
        for number, row in enumerate(rows):
            y, width = 20 + number * 50, row["grams"] / 16
            parts.append(f'<rect x="110" y="{y}" width="{width:.0f}" height="34" fill="#35688d"/>')
            parts.append(f'<text x="100" y="{y + 22}" text-anchor="end">{row["species"]}</text>')
            parts.append(f'<text x="{118 + width:.0f}" y="{y + 22}" font-size="12">{row["grams"]} g</text>')
            print(f"{row['species']:10} {row['grams']} g, mean of {row['birds']} birds")
        parts.append(f'<text x="110" y="190" font-size="11">Palmer Archipelago, {signature}</text></svg>')
        with open("/out/penguins.svg", "w") as file:
            file.write("\n".join(parts))
        return "penguins.svg"

    chart(weigh.output, witness.output)
