"""Charts of the evidence: small pictures that can be read on a phone, each with its numbers in words.

They bring no caption: what they are about stands in the page above them, and in their title for those who
do not see them. All of it is pure, and takes numbers and words that are ready to be shown.
"""
