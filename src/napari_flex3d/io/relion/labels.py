"""Names of columns that reading and writing share."""

ANGLES = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
RECORDED_PIXEL, RECORDED_BOX = "flexPixelSize", "flexImageSize"
"""Our columns of the optics table: pixel and box of the recorded images, where prep brought them to others."""
COPY = "flexSymmetryCopy"
"""Number of a copy made by symmetry expansion, from 0."""
PARTICLE = "flexParticle"
"""Number of the particle that a row shows, where there are copies."""
OF_PREP = (RECORDED_PIXEL, RECORDED_BOX, "flexImageName", "flexSourceRow", PARTICLE)
ASKED = {  # label: the answer's name, what RELION assumes when it is missing
    "rlnVoltage": ("voltage", 200),
    "rlnSphericalAberration": ("spherical_aberration", 0),
    "rlnAmplitudeContrast": ("amplitude_contrast", 0),
}
