"""The rows: every model that can be chosen. Sizes and digests are the publishers'; memory and speed were measured.

Memory and speed are of one encode in float32 on a CPU (see docs/golden.md for the machine and date); speed is the
time as a part of SAM ViT-B's.
"""

from __future__ import annotations

from collections.abc import Mapping

from napari_medsam.models.row import Row, WeightFile
from napari_medsam.prompts import PromptKind

BOX, POINT, STROKE, MASK = PromptKind.BOX, PromptKind.POINT, PromptKind.STROKE, PromptKind.MASK
BOX_ONLY = frozenset({BOX})
POINT_ONLY = frozenset({POINT})
ALL_OF_SAM = frozenset({BOX, POINT, MASK})

STROKE_AS_POINTS: Mapping[PromptKind, str] = {STROKE: "a stroke counts as up to eight points along it"}
POINT_AS_BOX: Mapping[PromptKind, str] = {
    POINT: "it knows boxes only: clicks are turned into a box around what Contour finds there",
    STROKE: "it knows boxes only: strokes are turned into a box around what Contour finds there",
}
BOX_AS_POINT: Mapping[PromptKind, str] = {
    BOX: "it knows points only: a box is turned into a point in its middle",
    STROKE: "a stroke counts as up to eight points along it",
}

META = "https://dl.fbaipublicfiles.com/segment_anything"
META_2 = "https://dl.fbaipublicfiles.com/segment_anything_2"
MODELS = "napari_medsam.models"
MB = 1_000_000
NO_PATIENTS = "Trained on photographs, not on medical images."


def drive(name: str, page: str, size: int = 0, **known: str) -> WeightFile:
    """A file that a person gets from Google Drive; its size is an estimate."""
    return WeightFile(name, size, page=f"https://drive.google.com/{page}", exact=False, **known)


def hub(repository: str, inside: str, name: str = "", size: int = 0) -> WeightFile:
    """A file of a Hugging Face repository, whose size and digest the hub states when asked."""
    return WeightFile(name or inside, size, repository=repository, inside=inside, exact=False)


BUILT_IN = (
    Row(
        "contour", "Contour (built in, classical)", f"{MODELS}.contour:Contour", built_in=True, speed=0.001,
        about="A classical method, not a neural network. Draw a box; a point alone often finds the wrong size.",
        prompts=frozenset({BOX, POINT, STROKE}), memory_mb=20,
    ),
    Row(
        "starter", "Starter (synthetic training)", f"{MODELS}.starter:make", built_in=True, layout="starter",
        about="A small network trained on synthetic images only: it is not MedSAM and has seen no patient. Good on "
        "compact objects with a border to be seen. Choose a downloaded model (MedSAM, SAM) where only anatomy tells "
        "the border, for thin shells about larger structures, faint lesions, metal, or colour pictures.",
        prompts=frozenset({BOX, POINT, STROKE, MASK}), input_size=64, memory_mb=300, speed=0.01,
    ),
)  # fmt: skip


def _sam(size: str, title: str, file: WeightFile, repository: str, memory_mb: int, speed: float) -> Row:
    safe = hub(f"facebook/{repository}", "model.safetensors", f"{repository}.safetensors", file.size)
    return Row(
        f"sam-vit-{size}", title, f"{MODELS}.sam:make", "SAM", f"The original Segment Anything. {NO_PATIENTS}",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout=f"sam-vit-{size}", files=(safe, file),
        source="https://github.com/facebookresearch/segment-anything", input_size=1024,
        memory_mb=memory_mb, speed=speed,
    )  # fmt: skip


SAM = (
    _sam("b", "SAM ViT-B", WeightFile(
        "sam_vit_b_01ec64.pth", 375042383, "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        f"{META}/sam_vit_b_01ec64.pth"), "sam-vit-base", 815, 1.0),
    _sam("l", "SAM ViT-L", WeightFile(
        "sam_vit_l_0b3195.pth", 1249524607, "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        f"{META}/sam_vit_l_0b3195.pth"), "sam-vit-large", 1762, 2.4),
    _sam("h", "SAM ViT-H", WeightFile(
        "sam_vit_h_4b8939.pth", 2564550879, "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        f"{META}/sam_vit_h_4b8939.pth"), "sam-vit-huge", 3137, 4.3),
    Row(
        "mobile-sam", "MobileSAM", f"{MODELS}.mobile_sam:make", "SAM",
        f"SAM with a small encoder, quick on a CPU. {NO_PATIENTS}",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout="mobile-sam", input_size=1024,
        memory_mb=327, speed=0.07,
        source="https://github.com/ChaoningZhang/MobileSAM",
        files=(WeightFile(
            "mobile_sam.pt", 40728226, "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            repository="dhkim2810/MobileSAM"),),
    ),
)  # fmt: skip

MEDSAM = (
    Row(
        "medsam", "MedSAM", f"{MODELS}.medsam:make", "MedSAM",
        "SAM ViT-B trained on more than a million medical images with boxes.",
        prompts=BOX_ONLY, stand_ins=POINT_AS_BOX, layout="sam-vit-b", input_size=1024,
        memory_mb=815, speed=1.0,
        source="https://github.com/bowang-lab/MedSAM",
        files=(
            hub("flaviagiammarino/medsam-vit-base", "pytorch_model.bin", "medsam-vit-base.bin", 375 * MB),
            drive("medsam_vit_b.pth", "drive/folders/1ETWmi4AiniJeWOt6HAsYgTjYv_fkgzoN", 375049145,
                  seen_sha256="34b34b78c1d18cb8c6bf84cf9c00e135d6d6c965699f3c0e31ef1bc9dcb5be74"),
        ),
    ),
    Row(
        "medsam-first", "MedSAM (first release, 2023)", f"{MODELS}.medsam:make", "MedSAM",
        "The authors' first weights of May 2023. The later ones are called MedSAM.",
        prompts=BOX_ONLY, stand_ins=POINT_AS_BOX, layout="sam-vit-b", input_size=1024,
        memory_mb=815, speed=1.0,
        source="https://huggingface.co/wanglab/medsam-vit-base",
        files=(hub("wanglab/medsam-vit-base", "pytorch_model.bin", "medsam-vit-base-2023-05.bin", 375 * MB),),
    ),
    Row(
        "litemedsam", "LiteMedSAM", f"{MODELS}.litemedsam:make", "MedSAM",
        "MedSAM with a small encoder at 256 pixels: quick on a CPU, coarser outlines.",
        prompts=BOX_ONLY, stand_ins=POINT_AS_BOX, layout="litemedsam", input_size=256,
        memory_mb=308, speed=0.07,
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAM",
        files=(drive("lite_medsam.pth", "file/d/18Zed-TUTsmr2zc5CHUWd5Tu13nb6vq6z", 39_300_000),),
    ),
    Row(
        "litemedsam-scribble", "LiteMedSAM-Scribble", f"{MODELS}.litemedsam:make_scribble", "MedSAM",
        "LiteMedSAM for strokes: draw along the object.",
        prompts=frozenset({STROKE, MASK}), layout="litemedsam", input_size=256,
        memory_mb=308, speed=0.07,
        source="https://github.com/bowang-lab/MedSAM/tree/LiteMedSAMScribble",
        files=(drive("medsam_lite_scribble.pth", "drive/folders/13_7JunloWvXgXaa_kfJrg7sZCLVE33TK", 39_300_000),),
    ),
)  # fmt: skip

MED2D = (
    Row(
        "sam-med2d", "SAM-Med2D", f"{MODELS}.sammed2d:make", "SAM-Med2D",
        "SAM ViT-B at 256 pixels with adapters, trained on 4.6 million medical images with boxes and points.",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout="sam-med2d", input_size=256,
        memory_mb=1280, speed=0.13,
        source="https://github.com/OpenGVLab/SAM-Med2D",
        files=(
            hub("schengal1/SAM-Med2D_model", "sam-med2d_b.pth", size=2560 * MB),
            drive("sam-med2d_b.pth", "file/d/1ARiB5RkSsWmAB_8mqWnwDF8ZKTtFwsjl", 2560 * MB),
        ),
    ),
    Row(
        "ft-sam", "FT-SAM", f"{MODELS}.sammed2d:make_ft", "SAM-Med2D",
        "SAM ViT-B at 256 pixels, its decoder trained on SAM-Med2D's images, without adapters.",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout="ft-sam", input_size=256,
        memory_mb=440, speed=0.06,
        source="https://github.com/OpenGVLab/SAM-Med2D",
        files=(drive("ft-sam_b.pth", "file/d/1J4qQt9MZZYdv1eoxMTJ4FL8Fz65iUFM8", 0),),
    ),
    Row(
        "samus", "SAMUS (ultrasound)", f"{MODELS}.samus:make", "SAMUS",
        "For ultrasound: trained on 30,000 images with one click each.",
        prompts=POINT_ONLY, stand_ins=BOX_AS_POINT, layout="samus", input_size=256,
        memory_mb=742, speed=0.27,
        source="https://github.com/xianlin7/SAMUS", licence="MIT",
        files=(drive("samus.pth", "file/d/1nQjMAvbPeolNpCxQyU_HTiOiB5704pkH", 533_400_000),),
    ),
)  # fmt: skip

ZOO = "KidsWithTokens/Medical-Adapter-Zoo"
CLICKS = "Clicks are fed as row and column exchanged, as it was trained."


def _adapter(name: str, target: str, file: str) -> Row:
    return Row(
        f"msa-{name}", f"Medical-SAM-Adapter: {target}", f"{MODELS}.msa:make", "Medical-SAM-Adapter",
        f"An adapter on SAM ViT-B for {target}, one click. {CLICKS}", prompts=POINT_ONLY, stand_ins=BOX_AS_POINT,
        layout="msa-adapters", files=(hub(ZOO, file, size=42_700_000),), base="sam-vit-b", input_size=1024,
        memory_mb=882, speed=1.2,
        source=f"https://huggingface.co/{ZOO}",
    )  # fmt: skip


MSA = (
    _adapter("melanoma", "melanoma on photographs", "Melanoma_Photo_SAM_1024.pth"),
    _adapter("lung-nodule", "lung nodules on CT", "LungNodule_CT_SAM_1024.pth"),
    _adapter("thyroid-nodule", "thyroid nodules in ultrasound", "ThyroidNodule_UltraSound_SAM_1024.pth"),
    _adapter("optic-cup", "the optic cup on fundus images", "OpticCup_Fundus_SAM_1024.pth"),
    _adapter("optic-disc", "the optic disc on fundus images", "OpticDisc_Fundus_SAM_1024.pth"),
    Row(
        "msa-own-adapters", "Medical-SAM-Adapter: other adapters", f"{MODELS}.msa:make", "Medical-SAM-Adapter",
        f"Any other adapter file on SAM ViT-B: choose the file. {CLICKS}", prompts=POINT_ONLY,
        stand_ins=BOX_AS_POINT, layout="msa-adapters", base="sam-vit-b", input_size=1024,
        memory_mb=882, speed=1.2,
        licence="that of the chosen file", source=f"https://huggingface.co/{ZOO}",
    ),
    Row(
        "msa", "Medical-SAM-Adapter: own training", f"{MODELS}.msa:make", "Medical-SAM-Adapter",
        f"A whole training file of Medical-SAM-Adapter: choose the file. {CLICKS}", prompts=POINT_ONLY,
        stand_ins=BOX_AS_POINT, layout="msa", input_size=1024, memory_mb=882, speed=1.2,
        licence="that of the chosen file",
        source="https://github.com/SuperMedIntel/Medical-SAM-Adapter",
    ),
)  # fmt: skip

SAMED = "https://github.com/hitachinsk/SAMed"
SYNAPSE = (
    "spleen", "right kidney", "left kidney", "gallbladder", "liver", "stomach", "aorta", "pancreas",
)  # fmt: skip


def _samed(name: str, title: str, base: str, file: WeightFile, about: str, memory_mb: int, speed: float) -> Row:
    return Row(
        name, title, f"{MODELS}.samed:make", "SAMed", f"Labels eight organs of an abdominal CT by itself. {about}",
        classes=SYNAPSE, layout=name, files=(file,), base=base, input_size=512, licence="MIT",
        source=SAMED, memory_mb=memory_mb, speed=speed,
    )  # fmt: skip


LORA = (
    _samed("samed-b", "SAMed", "sam-vit-b",
           drive("epoch_159.pth", "file/d/1P0Bm-05l-rfeghbrT1B62v5eN-3A-uOr", 19_700_000),
           "LoRA on SAM ViT-B, trained on CT with axial slices and a window of -125 to 275 HU.", 556, 0.17),
    _samed("samed-s", "SAMed (small file)", "sam-vit-b",
           WeightFile("samed_s.pth", 6_600_000, page=SAMED, exact=False), "LoRA on SAM ViT-B's encoder and decoder.",
           556, 0.17),
    _samed("samed-h", "SAMed ViT-H", "sam-vit-h",
           WeightFile("samed_h.pth", 21_700_000, page=SAMED, exact=False),
           "LoRA on SAM ViT-H: more exact, and slow on a CPU.", 2819, 1.05),
    Row(
        "sam-lora", "SAM ViT-B with a LoRA file", f"{MODELS}.sam_lora:make", "SAM",
        "A LoRA for SAM ViT-B's encoder in SAMed's order of keys: choose the file.",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout="sam-lora-b", base="sam-vit-b", input_size=1024,
        memory_mb=815, speed=1.0,
        licence="that of the chosen file", source="https://github.com/MathieuNlp/Sam_LoRA",
    ),
)  # fmt: skip


COST_OF_SAM2 = {"tiny": (836, 0.3), "small": (852, 0.37), "base-plus": (1080, 0.62), "large": (1613, 1.5)}
"""Memory and speed; on images both versions are the same network."""


def _sam2(version: str, date: str, size: str, title: str, file_bytes: int, sha256: str, *, exact: bool = True) -> Row:
    under = size.replace("-", "_")
    memory_mb, speed = COST_OF_SAM2[size]
    file = f"sam{version}_hiera_{under}.pt"
    safe = hub(f"facebook/sam{version}-hiera-{size}", "model.safetensors", f"sam{version}-hiera-{size}.safetensors",
               file_bytes)  # fmt: skip
    return Row(
        f"sam{version}-{size}", f"SAM {version} {title}", f"{MODELS}.sam2:make", "SAM 2",
        f"Segment Anything 2. {NO_PATIENTS}", prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS,
        layout=f"sam{version}-{size}", input_size=1024, source="https://github.com/facebookresearch/sam2",
        memory_mb=memory_mb, speed=speed,
        files=(safe, WeightFile(file, file_bytes, sha256, f"{META_2}/{date}/{file}", exact=exact)),
    )  # fmt: skip


SAM2 = (
    _sam2("2.1", "092824", "tiny", "tiny", 156008466,
          "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    _sam2("2.1", "092824", "small", "small", 184416285,
          "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    _sam2("2.1", "092824", "base-plus", "base+", 323606802,
          "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    _sam2("2.1", "092824", "large", "large", 898083611,
          "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
    _sam2("2", "072824", "tiny", "tiny", 155906050,
          "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    _sam2("2", "072824", "small", "small", 184 * MB,
          "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3", exact=False),
    _sam2("2", "072824", "base-plus", "base+", 323493298,
          "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    _sam2("2", "072824", "large", "large", 897952466,
          "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
)  # fmt: skip


def _medsam2(name: str, title: str, file: str, about: str) -> Row:
    return Row(
        name, title, f"{MODELS}.medsam2:make", "MedSAM2", f"SAM 2.1 tiny at 512 pixels, {about}",
        prompts=ALL_OF_SAM, stand_ins=STROKE_AS_POINTS, layout="sam2.1-tiny", input_size=512,
        memory_mb=357, speed=0.06,
        files=(hub("wanglab/MedSAM2", file, size=156 * MB),), licence="CC-BY-SA-4.0 (share alike)",
        source="https://github.com/bowang-lab/MedSAM2",
    )  # fmt: skip


MEDSAM2 = (
    _medsam2("medsam2", "MedSAM2", "MedSAM2_latest.pt", "trained on medical volumes and videos; recommended."),
    _medsam2("medsam2-2411", "MedSAM2 (November 2024)", "MedSAM2_2411.pt", "the base model of November 2024."),
    _medsam2("medsam2-ct-lesion", "MedSAM2: CT lesions", "MedSAM2_CTLesion.pt", "trained further on CT lesions."),
    _medsam2("medsam2-mri-liver-lesion", "MedSAM2: MR liver lesions", "MedSAM2_MRI_LiverLesion.pt",
             "trained further on liver lesions in MR."),
    _medsam2("medsam2-us-heart", "MedSAM2: ultrasound heart", "MedSAM2_US_Heart.pt",
             "trained further on heart ultrasound videos."),
    _medsam2("medsam2-recist", "MedSAM2: RECIST (FLARE 2025)", "medsam2_FLARE25_RECIST_baseline.pt",
             "the RECIST baseline of FLARE 2025."),
)  # fmt: skip

ROWS: tuple[Row, ...] = (*BUILT_IN, *MEDSAM, *MEDSAM2, *SAM, *SAM2, *MED2D, *MSA, *LORA)
