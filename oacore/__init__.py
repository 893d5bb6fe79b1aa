"""What coarse-to-fine labels teach 3D networks about knee osteoarthritis.

What several chapters share is core; what one chapter or one subject needs is an instrument.
Arrows run downwards, from each room to those above it here, and never from the core to an
instrument.

The leaves, which need nothing else of the package:
    ``errors``, ``backbones``, ``names``, ``files``, ``seals``, ``hierarchy``, ``profile``,
    ``provenance``, ``fingerprint``, ``results``, ``record``, ``tables``

``data``: knees on disk, and as networks see them
    ``cohort``, ``check``, ``disclosure``, ``nifti``, ``volumes``, ``cache``, ``sources``,
    ``download``, ``archive``
``models``: the encoders, and the heads that read them
    ``resnet3d``, ``m3t``, ``nnmamba``, ``heads``, ``resnet2d``, ``keypoints``, ``shapes``,
    ``weights``
``models.scan``: one recurrence, three ways to compute it
    ``selective``, ``reference``, ``cpu``, ``gpu``
``training``: one loop, one objective, one run folder
    ``config``, ``grades``, ``losses``, ``batches``, ``device``, ``probe``, ``remembered``,
    ``convolutions``, ``normalisation``, ``prediction``, ``loop``, ``resuming``, ``records``,
    ``checks``, ``progress``, ``runs``, ``picture_losses``, ``augmentation``, ``pictures``
``metrics``: predictions, what they score, and how sure that is
    ``predictions``, ``scores``, ``references``, ``significance``, ``resampling``, ``crossed``,
    ``mixed``, ``seeds``, ``compare``, ``power``, ``failures``, ``clinical``, ``recalibration``,
    ``shares``, ``calibration``, ``decisions``, ``conformal``, ``subgroups``, ``dice``,
    ``coverage``
``plots``: figures and page elements in one look
    ``style``, ``basic``, ``normalisation``, ``intervals``, ``page``, ``sheets``, ``viewer``,
    ``orthogonal``, ``thumbnails``

``instruments.architecture``: what is inside a network
    ``drawings``, ``gradients``, ``attention``, ``memory``
``instruments.phantom``: synthetic knees with a known truth
    ``readers``, ``grades``, ``subjects``, ``bones``, ``anatomy``, ``image``, ``knee``, ``cohort``,
    ``pictures``, ``measure``, ``facts``, ``baseline``, ``template``, ``figures``
``instruments.coherence``: grades that belong together, and losses that ask for it
    ``patterns``, ``mixture``, ``joint``, ``pulled``, ``trial``, ``figures``
``instruments.radiographs``: pictures, landmarks and grades, real and drawn
    ``words``, ``source``, ``resampling``, ``public_layout``, ``own_layout``, ``oai``,
    ``pictures``, ``cases``, ``public``, ``landmark_files``, ``shadows``, ``film``, ``drawing``,
    ``drawn``, ``framing``, ``likeness``, ``alike``, ``truth``, ``beam``, ``places``, ``figures``,
    ``viewer``, ``detector``, ``arms``, ``told``, ``detected``, ``study``, ``attribution``,
    ``collect``, ``beside``, ``printed_shares``, ``study_figures``, ``outcomes``
``instruments.axis``: the severity axis in a network's features
    ``ranks``, ``spread``, ``axis``, ``shape``, ``cka``, ``effects``, ``figures``
``instruments.saliency``: where a network looks
    ``methods``, ``overlap``, ``controls``, ``nifti``, ``explain``, ``faithfulness``, ``read``,
    ``permuted``, ``means``, ``games``, ``figures``
``instruments.slicer``: slices to drag through
    ``parts``, ``slicer``, ``cases``, ``kernel``, ``lab``
``instruments.audit``: printed tables, checked by their own arithmetic
    ``printed``, ``verdicts``, ``counts``, ``ranks``, ``overlap``, ``sums``, ``statements``,
    ``findings``, ``truths``, ``trial``, ``figures``
``instruments.published``: the paper's predictions and its protocol
    ``predictions``, ``protocol``, ``counts``, ``ways``, ``figures``
``instruments.radiomics``: numbers of the same knees, and models on them
    ``table``, ``models``, ``scored``, ``benchmark``, ``figures``
``instruments.hierarchy``: is it the hierarchy? arms, controls and remedies of one experiment
    ``losses``, ``arms``, ``heads``, ``schedule``, ``batched``, ``peers``, ``repeats``, ``trial``,
    ``split``, ``runs``, ``finished``, ``fixed``, ``radiographs``, ``phantom``, ``grid``,
    ``volumes``, ``trained``, ``noise``, ``noise_scores``, ``noise_map``, ``artefact``,
    ``artefact_scores``, ``artefact_figures``, ``lag``, ``courses``, ``visits``, ``visit_axes``,
    ``visit_scores``, ``visit_shown``, ``analysis``, ``answer``, ``figures``
``instruments.evidence``: claims, deviations and recorded speed
    ``claims``, ``coherence_claims``, ``judges``, ``verdicts``, ``deviations``, ``performance``
``instruments.paper``: the paper's tables and figures, redrawn
    ``style``, ``overview``, ``figures``, ``saliency``, ``tables``
"""

__version__ = "0.1.0"
