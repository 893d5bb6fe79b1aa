"""What coarse-to-fine labels teach 3D networks about knee osteoarthritis.

Modules, from the ground up (each imports only from those before it):

``errors``, ``hierarchy``, ``profile``, ``provenance``; ``cohort``, ``check``,
``volumes``, ``cache``; ``readers``, ``grades``, ``subjects``; ``bones``, ``anatomy``, ``dess``,
``knee``, ``phantom``; ``scan_torch``, ``scan_numba``, ``scan_triton``, ``selective_scan``;
``resnet3d``, ``m3t``, ``nnmamba``, ``model``, ``attention``, ``gradients``; ``train``, ``runs``;
``predictions``, ``significance``, ``metrics``, ``seeds``, ``compare``, ``failures``,
``clinical``; ``ranks``, ``severity``, ``axis_effects``, ``untrained``, ``geometry``, ``cka``;
``printed``, ``audit_counts``, ``audit_ranks``, ``audit_overlap``, ``audit_sums``, ``audit``,
``audit_trial``; ``published``, ``prediction_files``, ``protocol``; ``fetch``, ``references``,
``radiomics``, ``radiomics_models``, ``external_benchmark``; ``morphometry``, ``facts``,
``baseline``; ``figures`` and ``figures_*``, ``drawing``, ``diagrams``, ``display``;
``deviations``, ``performance``, ``claims``, ``results``; ``overlap``, ``overlap_means``,
``saliency``, ``saliency_controls``, ``maps``, ``explain``, ``explained``; ``sheets``, ``slicer``,
``slicer_cases``, ``lab_parts``, ``lab_slicer``; ``thumbnails``; ``print_style``,
``print_overview``, ``print_figures``, ``print_saliency``, ``print_tables``.
"""

__version__ = "0.1.0"
