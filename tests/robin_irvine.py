"""What Robin and Irvine published, and where the project's tables have it. What must come out.

"Analysis of the Intel Pentium's Ability to Support a Secure Virtual Machine Monitor", USENIX
Security 2000, section 3. The abstract counts 17; the mnemonics are 18.
"""

REGISTERS_AND_FLAGS = {  # their requirement 3B
    "SGDT": "SGDT", "SIDT": "SIDT", "SLDT": "SLDT", "SMSW": "SMSW", "PUSHF": "PUSHF",
    "POPF": "POPF",
}  # fmt: skip
PROTECTION = {  # 3C; a far CALL, JMP and RET, as near ones are innocuous
    "LAR": "LAR", "LSL": "LSL", "VERR": "VERR", "VERW": "VERW", "POP": "POP Sreg",
    "PUSH": "PUSH Sreg", "CALL": "LCALL", "JMP": "LJMP", "INT n": "INT", "RET": "RETF",
    "STR": "STR", "MOV": "MOV Sreg",
}  # fmt: skip
PUBLISHED = REGISTERS_AND_FLAGS | PROTECTION
HEADLINE = 17

HIDDEN_BY_UMIP = {"SGDT", "SIDT", "SLDT", "SMSW", "STR"}  # SDM volume 3, section 2.5
LEFT_BY_V86 = {"SGDT", "SIDT", "SMSW"}
TRAP_IN_V86 = {"CLI", "STI", "PUSHF", "POPF", "INT", "IRET"}  # SDM volume 3, section 20.2.7
